# SPDX-License-Identifier: Apache-2.0
"""The black box remembers what matters within its bounds, and knows what is worth writing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.executor_codes import Mode, Reason
from swiftvla_ros.episodes.bags.bag import Bag, RawMessage
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.episodes.recording.black_box import ExecutorWatch, Pending, Ring, Trigger
from swiftvla_ros.episodes.recording.black_box_summary import summary_of

S = 10**9


def message(topic: str, seconds: float, size: int = 10) -> RawMessage:
    """Make a message of some bytes."""
    return RawMessage(topic, "std_msgs/msg/Float64", round(seconds * S), bytes(size))


def test_the_ring_keeps_its_bounds() -> None:
    """Protects: the black box of a system that runs for weeks uses the memory that it was given."""
    ring = Ring(seconds=2.0, most_bytes=150)
    for i in range(100):
        ring.add(message("/a", i * 0.1))
        assert ring.bytes == sum(len(m.data) for m in ring.messages()) <= 150
    kept = [m.received_ns / S for m in ring.messages()]
    assert kept == pytest.approx([9.9 - 0.1 * i for i in reversed(range(15))])
    assert ring.squeezed > 0
    ring.add(message("/a", 0.5))  # the clock jumped back
    assert [m.received_ns for m in ring.messages()] == [S // 2]


def test_what_was_latched_is_kept_however_old() -> None:
    """Protects: a box says which instruction was followed, though it was given minutes before."""
    ring = Ring(seconds=1.0, most_bytes=1000, latched=["/policy_state"])
    ring.add(message("/policy_state", 0.0))
    ring.add(message("/policy_state", 1.0))
    for i in range(50):
        ring.add(message("/a", 2.0 + i * 0.1))
    assert [m.topic for m in ring.messages()][:2] == ["/policy_state", "/a"]
    assert ring.messages()[0].received_ns == S


@pytest.mark.parametrize(
    ("mode", "reason", "kind"),
    [
        (Mode.STOPPED, Reason.EMERGENCY_STOP, "emergency-stop"),
        (Mode.DECELERATING, Reason.TRACKING_ERROR, "fault"),
        (Mode.DECELERATING, Reason.STATE_STALE, "fault"),
        (Mode.DECELERATING, Reason.DEACTIVATED, "take-over"),
        (Mode.DECELERATING, Reason.STOP_REQUESTED, "take-over"),
        (Mode.TAIL, Reason.CHUNK_LATE, None),
        (Mode.HOLD, Reason.HOLD_TIMEOUT, None),
    ],
)
def test_what_triggers_it(mode: Mode, reason: Reason, kind: str | None) -> None:
    """Protects: a fault, a stop and a take-over write one box each; ordinary work and standing still write none."""
    watch = ExecutorWatch()
    assert watch.look(mode, reason, "") is None, "an arm that was like this before has no story here"
    assert watch.look(Mode.FRESH, Reason.CHUNK, "") is None
    trigger = watch.look(mode, reason, "")
    assert (trigger and trigger.kind) == kind
    assert watch.look(mode, reason, "") is None
    assert watch.look(Mode.HOLD, reason, "") is None, "the same reason further down the ladder is the same story"


def test_a_box_waits_for_what_follows_and_takes_it_in() -> None:
    """Protects: the stop that follows a fault is in its box, and a clock that jumped back keeps none waiting."""
    pending = Pending(after_s=2.0)
    fault, stop = Trigger("fault", "a"), Trigger("emergency-stop", "b")
    pending.add(fault, 10 * S)
    pending.add(stop, 11 * S)
    assert pending.take(11 * S) == []
    assert pending.take(12 * S) == [fault, stop]
    assert pending.take(13 * S) == []
    pending.add(fault, 20 * S)
    assert pending.take(1 * S) == [fault]
    pending.add(stop, 30 * S)
    assert pending.take(30 * S, at_once=True) == [stop]


def test_the_page_tells_the_story(contract: Contract, messages: Any, tmp_path: Path) -> None:
    """Protects: who stands beside the arm reads what happened, with names and times, without any tool."""
    modes = [Mode.FRESH] * 20 + [Mode.DECELERATING] * 10 + [Mode.STOPPED] * 5
    with BagWriter(tmp_path / "box", contract) as writer:
        writer.write_message("/action_chunk", messages.chunk(S, S, S, S + 70_000_000), S)
        for i, mode in enumerate(modes):
            ns = S + i * 10_000_000
            state = messages.executor_state(ns, np.zeros(6), int(mode))
            state.reason_text = "elbow_flex is 0.31 rad away" if mode is not Mode.FRESH else ""
            state.tracking_error = np.array([0, 0, -0.31, 0, 0, 0])
            writer.write_message("/executor_state", state, ns)
    page = summary_of(Bag(tmp_path / "box"), [Trigger("fault", "elbow_flex is 0.31 rad away")])
    assert "# Black box: fault" in page
    assert "0.3100 (elbow_flex)" in page
    assert "observation to chunk 0.070 s in the median" in page
    ladder = [line for line in page.splitlines() if " s  " in line]
    assert [line.split()[2] for line in ladder] == ["fresh", "decelerating:", "stopped:"]
    assert len(page.splitlines()) < 60
