# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from types import SimpleNamespace as Message

import numpy as np

from swiftvla_ros.monitoring.disagreement import DisagreementMeter, Rows
from swiftvla_ros.monitoring.verdict import Verdict
from swiftvla_ros.replay.recorded import RecordedRun
from swiftvla_ros.replay.verdicts import compare_verdicts

STEP_NS = 100_000_000


def message(verdict: Verdict) -> Message:
    """A verdict as it lies in a bag."""
    stamp = Message(sec=verdict.stamp_ns // 10**9, nanosec=verdict.stamp_ns % 10**9)
    return Message(header=Message(stamp=stamp), **{k: v for k, v in vars(verdict).items() if k != "stamp_ns"})


def recorded(change: float = 0.0) -> RecordedRun:
    """A run of ten chunks that contradict each other, and the verdicts on them, one of which was changed."""
    rng, meter = np.random.default_rng(0), DisagreementMeter(np.array([0.05, 0.2]), np.array([0.9, 0.9]), 40.0)
    chunks, verdicts = [], []
    for k in range(1, 11):
        rows = Rows(k * STEP_NS, STEP_NS, rng.normal(0, 0.1, (8, 3)), 1)
        chunks.append(Message(chunk_id=k, received_ns=k * STEP_NS, checkpoint_sha256="ab", **vars(rows)))
        if (verdict := meter.take(k, rows, "ab")) is not None:
            verdicts.append(replace(verdict, values=verdict.values + change) if k == 7 else verdict)
    bag = Message(
        topic=lambda name: name if name == "monitor_verdicts" else None,
        messages=lambda _name: [(v.stamp_ns, message(v)) for v in verdicts],
    )
    return RecordedRun(bag, chunks, [], np.zeros(0, np.int64), np.zeros((0, 3)), [])  # type: ignore[arg-type]


def test_verdicts_come_out_again_and_a_change_is_told(tmp_path, contract) -> None:
    """Protects: a monitor's code can be changed against a recording, and what it says otherwise is named."""
    (found,) = compare_verdicts(recorded(), tmp_path, contract)
    assert (found.monitor, found.recorded, found.computed, found.differences) == ("disagreement", 9, 9, ())
    (found,) = compare_verdicts(recorded(change=0.01), tmp_path, contract)
    assert len(found.differences) == 1
    assert "chunk 7: successive chunks is" in found.differences[0]


def test_a_bag_without_verdicts_has_none_to_compare(tmp_path, contract) -> None:
    """Protects: bags of before there were monitors replay as they did."""
    run = recorded()
    bare = replace(run, bag=Message(topic=lambda _name: None))  # type: ignore[arg-type]
    assert compare_verdicts(bare, tmp_path, contract) == []
