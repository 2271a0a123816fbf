# SPDX-License-Identifier: Apache-2.0
"""What the page shows of messages, of clocks that go on, and of numbers that are none."""

from types import SimpleNamespace

import numpy as np

from swiftvla_ros.monitoring.latency_advice import LatencyAdvice, RunTiming
from swiftvla_ros.panel.asked_speed import AskedSpeed
from swiftvla_ros.panel.exchange import plain
from swiftvla_ros.panel.instruction_history import InstructionHistory
from swiftvla_ros.panel.sections import joints_section, latency_section, robot_section
from swiftvla_ros.panel.stop_way import StopWay
from swiftvla_ros.panel.topic_rates import TopicRate


def test_what_json_cannot_hold_is_null():
    """NaN and infinity would end the page's parser."""
    assert plain({"a": float("nan"), "b": np.array([1.0, np.inf]), "c": (True, 2)}) == {
        "a": None,
        "b": [1.0, None],
        "c": [True, 2],
    }


def test_joints_without_anything_told(contract):
    """Before the first states each joint still has its row."""
    assert len(robot_section(contract, "/")["joints"]) == len(joints_section(contract, None, None)) == 6


def test_the_stage_that_limits_is_marked():
    """What was not measured yet is no number, and the whole way stands for itself."""
    timing = RunTiming({"wait": (0.1, 0.2, 0.3), "inference": (0.4, 0.9, 1.0)}, (0.5, 1.1, 1.2), 7)
    section = latency_section(timing, LatencyAdvice("inference", ("turn this",), ("this",)))
    told = [(stage["name"].split(" ")[0], stage["p95"], stage["limits"]) for stage in section["stages"]]
    assert told == [("observation", 0.2, False), ("inference", 0.9, True), ("camera", None, False)]
    assert section["advice"] == ["turn this"]
    assert section["period"] == {"p50": 0.5, "p95": 1.1}


def test_rates_count_what_was_not_fetched():
    """The publisher's numbers tell of the messages between two that were fetched."""
    rate = TopicRate("/state", 50.0)
    for k in range(21):
        rate.heard(b"a", 5 * k, 0.1 * k)
    assert rate.section(2.0) == {"name": "/state", "rate": 50.5, "expected": 50.0, "word": "good"}
    assert rate.section(9.0)["word"] == "silent"


def test_an_instruction_takes_effect_once_its_command_is_sent():
    """The history keeps the newest first, and knows a policy that counts from one again."""
    history = InstructionHistory()
    history.following(1, "pick up", 10.0)
    effect = SimpleNamespace(instruction_id=1, instruction="pick up", words_matter=float("nan"), text="in effect")
    history.effect(effect, 10.0, 10.5)
    history.following(2, "put down", 20.0)
    assert [(e["id"], e.get("after")) for e in history.section()] == [(2, None), (1, 0.5)]
    history.following(1, "something else", 30.0)
    assert history.section()[0] == {"id": 1, "text": "something else", "seen": 30.0}


def test_the_way_of_the_emergency_stop_is_proven_for_a_second():
    """No answer, a late one, a missing service or an executor without a word: each is a dead way, and says why."""
    now = SimpleNamespace(s=0.0)
    way = StopWay(lambda: now.s)
    told = {"ready": True, "speaks": True}
    assert not way.section(**told)["alive"]
    asked = way.ask()
    assert asked is not None
    assert way.ask() is None
    way.answered(asked, configured=True)
    assert way.section(**told)["alive"]
    assert "start the system" in way.section(ready=False, speaks=True)["why"]
    assert "state" in way.section(ready=True, speaks=False)["why"]
    now.s = 1.5
    assert "doesn't answer" in way.section(**told)["why"]
    late = way.ask()
    assert late is not None
    now.s = 4.0
    way.ask()
    way.answered(late, configured=True)
    assert not way.section(**told)["alive"]


def test_the_slider_stands_where_the_executor_says():
    """Protects: after a reload, and on a second page, the slider is the speed that the arm goes by."""
    now = SimpleNamespace(s=0.0)
    asked = AskedSpeed(lambda: now.s)

    def says(speed: float, by: str) -> float | None:
        now.s += 0.1
        asked.executor(speed, limited=bool(by), by_operator=by == "operator")
        return asked.percent

    assert asked.percent is None
    assert says(1.0, "") == 100.0, "nobody limits it"
    asked.heard(40.0)
    assert says(1.0, "") == 40.0, "the executor has not heard of it yet"
    now.s += 1.0
    assert says(0.2, "a monitor") == 40.0, "a lower limit of another's says nothing of it"
    asked.heard(300.0)
    assert asked.percent == 40.0, "the executor refuses that, too"

    # A page that was started after the speed had been set, by whomever.
    asked = AskedSpeed(lambda: now.s)
    assert [says(speed, "operator") for speed in (0.9, 0.7, 0.5)] == [None, None, None], "it is on its way"
    assert [says(0.5, "operator") for _ in range(4)][-1] == 50.0
    assert says(1.0, "") == 100.0
