# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from types import SimpleNamespace as Message

import numpy as np

from swiftvla_ros.monitoring.disagreement import SUCCESSIVE, DisagreementMeter, Rows
from swiftvla_ros.monitoring.verdict import Verdict
from swiftvla_ros.replay.recorded import RecordedRun
from swiftvla_ros.replay.verdicts import compare_verdicts

STEP_NS = 100_000_000


def message(verdict: Verdict) -> Message:
    """A verdict as it lies in a bag."""
    stamp = Message(sec=verdict.stamp_ns // 10**9, nanosec=verdict.stamp_ns % 10**9)
    return Message(header=Message(stamp=stamp), **{k: v for k, v in vars(verdict).items() if k != "stamp_ns"})


def recorded(change: float = 0.0, count: int = 20, missing: int = 0, part: str = SUCCESSIVE) -> RecordedRun:
    """A run of chunks that contradict each other in the first of every two times 2 s, and the verdicts on them.

    That of chunk 14 was changed; the recording lacks the ``missing`` first; the verdicts are of ``part``.
    """
    rng, meter = np.random.default_rng(0), DisagreementMeter(np.array([0.05, 0.2]), np.array([0.9, 0.9]), 40.0)
    chunks, verdicts = [], []
    for k in range(1, count + 1):
        rows = Rows(k * STEP_NS, STEP_NS, rng.normal(0, 0.1 * (1 - k // 20 % 2), (8, 3)), 1)
        chunks.append(Message(chunk_id=k, received_ns=k * STEP_NS, checkpoint_sha256="ab", **vars(rows)))
        if (verdict := meter.take(k, rows, "ab")) is not None:
            verdict = replace(verdict, parts=(part,))
            verdicts.append(replace(verdict, values=verdict.values + change) if k == 14 else verdict)
    chunks, verdicts = chunks[missing:], [v for v in verdicts if v.chunk_id > missing]
    bag = Message(
        topic=lambda name: name if name == "monitor_verdicts" else None,
        messages=lambda _name: [(v.stamp_ns, message(v)) for v in verdicts],
    )
    return RecordedRun(bag, chunks, [], np.zeros(0, np.int64), np.zeros((0, 3)), [])  # type: ignore[arg-type]


def wild(k: int) -> Message:
    """A chunk that contradicts every other."""
    rows = Rows(k * STEP_NS, STEP_NS, np.full((8, 3), float(k)), 1)
    return Message(chunk_id=k + 100, received_ns=k * STEP_NS, checkpoint_sha256="ab", **vars(rows))


def test_verdicts_come_out_again_and_a_change_is_told(tmp_path, contract) -> None:
    """Protects: a monitor's code can be changed against a recording, and what it says otherwise is named."""
    (found,) = compare_verdicts(recorded(), tmp_path, contract)
    assert (found.monitor, found.recorded, found.computed, found.differences) == ("disagreement", 10, 10, ())
    (found,) = compare_verdicts(recorded(change=0.01), tmp_path, contract)
    assert len(found.differences) == 1
    assert "chunk 14: successive chunks over 1 s is" in found.differences[0]


def test_what_was_heard_before_the_recording_is_not_guessed(tmp_path, contract) -> None:
    """Protects: a recording that begins in the middle of a run compares what it holds all of, and nothing else."""
    (found,) = compare_verdicts(recorded(count=80, missing=15), tmp_path, contract)
    assert (found.recorded, found.differences) == (65, ())
    # Slowed as it is then, the arm isn't known to be free again before the chunks agree for a second.
    assert found.computed == 80 - 35
    # A monitor that was started late has heard nothing before its first verdict's chunks.
    late = recorded(count=40)
    before = [wild(k) for k in range(-15, 1)]
    (found,) = compare_verdicts(replace(late, chunks=[*before, *late.chunks]), tmp_path, contract)
    assert (found.recorded, found.computed, found.differences) == (30, 30, ())


def test_verdicts_of_an_earlier_version_are_named_and_not_compared(tmp_path, contract) -> None:
    """Protects: old recordings replay, and the report says that their verdicts were of another rule."""
    (found,) = compare_verdicts(recorded(part="successive chunks"), tmp_path, contract)
    assert (found.recorded, found.computed, found.differences) == (10, 0, ())
    assert "an earlier version judged ['successive chunks']" in found.note


def test_a_bag_without_verdicts_has_none_to_compare(tmp_path, contract) -> None:
    """Protects: bags of before there were monitors replay as they did."""
    run = recorded()
    bare = replace(run, bag=Message(topic=lambda _name: None))  # type: ignore[arg-type]
    assert compare_verdicts(bare, tmp_path, contract) == []
