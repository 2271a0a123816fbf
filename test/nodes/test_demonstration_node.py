# SPDX-License-Identifier: Apache-2.0
"""A session of demonstrations over DDS: begin, judge, discard, again, a killed recorder."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import String
from std_srvs.srv import Trigger

from swiftvla_ros.contract import load_contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.session.session_folder import read_episode_record
from swiftvla_ros.msg import DemonstrationState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.srv import JudgeEpisode, SetInstruction


class Operator:
    """Whoever presses the buttons."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.states = graph.listen(DemonstrationState, "demonstration_state", qos.LATCHED)

    def ready(self) -> None:
        """Wait until an episode may begin."""
        self.states.clear()
        self.graph.wait_until(lambda: self.states.last and not self.states.last.blocked, "nothing is missing", 90)

    def press(self, button: str) -> str:
        """Press one that works."""
        answer = self.graph.call(Trigger, f"demonstration/{button}", Trigger.Request())
        assert answer.success, answer.message
        return str(answer.message)

    def judge(self, verdict: str, note: str = "") -> Any:
        """Give a verdict."""
        request = JudgeEpisode.Request(verdict=getattr(JudgeEpisode.Request, verdict), note=note)
        return self.graph.call(JudgeEpisode, "demonstration/judge", request)

    def watch(self, seconds: float) -> None:
        """Wait until the running episode is so long."""
        self.states.clear()

        def recorded() -> bool:
            last = self.states.last
            return last is not None and last.phase == DemonstrationState.RECORDING and last.elapsed_s > seconds

        self.graph.wait_until(recorded, f"{seconds} s were recorded", 30)


@pytest.fixture
def operator(graph: Any) -> Operator:
    """Stand beside the loop-back arm."""
    graph.start("loopback_robot_node", robot="so101_sim")
    return Operator(graph)


def test_a_session_keeps_what_it_recorded_and_what_was_said_of_it(
    graph: Any, operator: Operator, tmp_path: Path
) -> None:
    """Protects recordings: verdicts, discarded and cut-off episodes are what the operator said, and nothing is lost."""
    session = tmp_path / "session"
    chosen = {"robot": "so101_sim", "session": str(session), "episodes": 3}
    node = graph.start("demonstration_node", instruction="pick up the red block", operator="Ada", **chosen)
    calibration = {"gripper": {"id": 6, "drive_mode": 0, "homing_offset": 3, "range_min": 10, "range_max": 4000}}
    drivers = graph.node.create_publisher(String, "calibration/follower", qos.LATCHED)
    drivers.publish(String(data=json.dumps(calibration)))
    health = graph.listen(DiagnosticArray, "/diagnostics", 10)

    def known() -> bool:
        values = [v for m in health.messages for status in m.status for v in status.values if v.key == "calibrations"]
        return bool(values) and values[-1].value == "follower"

    graph.wait_until(known, "the recorder knows the follower's calibration")
    operator.ready()
    operator.press("begin")
    operator.watch(1.0)
    refused = graph.call(Trigger, "demonstration/begin", Trigger.Request())
    assert not refused.success
    assert "episode_000000 is being recorded" in refused.message
    assert operator.judge("SUCCEEDED").success
    assert operator.judge("FAILED", "the block slipped").success
    request = SetInstruction.Request(instruction="touch the green block")
    assert graph.call(SetInstruction, "demonstration/set_instruction", request).success
    operator.press("begin")
    operator.press("re_record")
    # What was killed keeps all but the last half second: so long lies between two writes.
    operator.watch(2.0)
    node.end(signal.SIGKILL)

    again = graph.start("demonstration_node", instruction="touch the green block", **chosen)
    operator.ready()
    operator.press("begin")
    operator.watch(1.0)
    assert again.end() == 0

    first, second, third, fourth = (session / name for name in ("episode_000000", "discarded/episode_000001",
                                                                "episode_000002", "episode_000003"))  # fmt: skip
    records = {bag: read_episode_record(bag) for bag in (first, second, third, fourth)}
    assert [record.outcome for record in records.values()] == ["failed", "discarded", "unjudged", "unjudged"]
    assert records[first].note == "the block slipped"
    assert records[first].operator == "Ada"
    assert records[first].calibrations == {"follower": calibration}
    assert "ended while it was being recorded" in records[third].note
    assert records[third].instruction == "touch the green block"
    contract = load_contract("so101_sim")
    for bag in records:
        opened = Bag(bag)
        assert opened.counts[contract.joint_states.topic] > 5
        assert opened.counts[f"{contract.cameras[0].topic}/compressed"] > 2
        marks = [message.data for _, message in opened.messages(contract.demonstrations.marks_topic)]
        assert marks[0].startswith("begin ")
    # The second before an episode lies in its bag, so that its first step sees something.
    begun = records[first].began_ns
    assert min(ns for ns, _ in Bag(first).messages(contract.joint_states.topic)) < begun
