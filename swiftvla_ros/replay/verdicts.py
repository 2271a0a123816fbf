# SPDX-License-Identifier: Apache-2.0
"""Computes the monitors' verdicts again, from what the monitors were told then, and compares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swiftvla_ros.contract import Contract
from swiftvla_ros.monitoring import disagreement, envelope_monitor
from swiftvla_ros.monitoring.disagreement import DisagreementMeter, Rows
from swiftvla_ros.monitoring.envelope import Envelope, EnvelopeError
from swiftvla_ros.monitoring.envelope_file import read_envelope
from swiftvla_ros.monitoring.envelope_monitor import EnvelopeMonitor, Look
from swiftvla_ros.monitoring.verdict import Verdict, VerdictLevel
from swiftvla_ros.observation.message_fields import (
    ChunkMessage,
    VerdictMessage,
    read_chunk,
    read_verdict,
    read_vision_features,
)
from swiftvla_ros.policy.checkpoint import open_checkpoint
from swiftvla_ros.replay.recorded import RecordedRun

# Another processor adds up in another order.
_RELATIVE = 1e-5


@dataclass(frozen=True)
class VerdictComparison:
    """One monitor's verdicts: recorded, computed again, and what is otherwise now, in sentences."""

    monitor: str
    recorded: int
    computed: int
    differences: tuple[str, ...]


def compare_verdicts(run: RecordedRun, checkpoint: Path, contract: Contract) -> list[VerdictComparison]:
    """Compare each monitor that the bag has verdicts of; those of monitors that this package doesn't know are left."""
    told: dict[str, list[VerdictMessage]] = {}
    if run.bag.topic("monitor_verdicts") is not None:
        for _, message in run.bag.messages("monitor_verdicts"):
            verdict = read_verdict(message)
            told.setdefault(verdict.monitor, []).append(verdict)
    again: dict[str, Callable[[list[VerdictMessage]], Iterator[tuple[VerdictMessage, Verdict | None]]]] = {
        envelope_monitor.NAME: lambda verdicts: _envelope(run, checkpoint, contract, verdicts),
        disagreement.NAME: lambda verdicts: _disagreement(run, verdicts),
    }
    found = []
    for name in sorted(told.keys() & again.keys()):
        pairs = [(then, now) for then, now in again[name](told[name]) if now is not None]
        differences = [text for then, now in pairs if (text := _difference(then, now))]
        found.append(VerdictComparison(name, len(told[name]), len(pairs), tuple(differences)))
    return found


def _difference(then: VerdictMessage, now: Verdict) -> str:
    where = f"chunk {then.chunk_id}"
    if then.level != now.level or then.percent != now.percent:
        levels = [VerdictLevel(v).name if v in list(VerdictLevel) else str(v) for v in (then.level, now.level)]
        return f"{where}: then {levels[0]} ({then.percent:g} %), now {levels[1]} ({now.percent:g} %): {now.text}"
    if then.parts != now.parts:
        return f"{where}: then of {list(then.parts)}, now of {list(now.parts)}"
    for kind, before, after in (
        ("is", then.values, now.values),
        ("slows from", then.slow_at, now.slow_at),
        ("holds from", then.hold_at, now.hold_at),
    ):
        close = np.isclose(before, after, rtol=_RELATIVE, atol=_RELATIVE)
        if not close.all():
            i = int(np.argmin(close))
            return f"{where}: {now.parts[i]} {kind} {after[i]:.5g} now, {before[i]:.5g} then"
    return ""


def _slow_percent(verdicts: list[VerdictMessage], default: float) -> float:
    return next((verdict.percent for verdict in verdicts if verdict.level == VerdictLevel.SLOW), default)


def _envelope(
    run: RecordedRun, checkpoint: Path, contract: Contract, verdicts: list[VerdictMessage]
) -> Iterator[tuple[VerdictMessage, Verdict | None]]:
    opened = open_checkpoint(checkpoint)
    envelope: Envelope | str
    try:
        envelope = read_envelope(checkpoint, opened.sha256, contract)
    except EnvelopeError as error:
        envelope = str(error)
    monitor = EnvelopeMonitor(envelope, contract, _slow_percent(verdicts, envelope_monitor.SLOW_PERCENT))
    chunks = {_key(chunk): chunk for chunk in run.chunks}
    features = {}
    if run.bag.topic("vision_features") is not None:
        for _, message in run.bag.messages("vision_features"):
            seen = read_vision_features(message)
            features[seen.stamp_ns, seen.chunk_id] = seen
    for verdict in verdicts:
        key = verdict.stamp_ns, verdict.chunk_id
        if key not in chunks or key not in features:
            yield verdict, None
            continue
        chunk = chunks[key]
        yield verdict, monitor.look(Look.of(chunk, run.state_at(chunk.state_stamp_ns), features[key]))


def _disagreement(run: RecordedRun, verdicts: list[VerdictMessage]) -> Iterator[tuple[VerdictMessage, Verdict | None]]:
    told = {(verdict.stamp_ns, verdict.chunk_id): verdict for verdict in verdicts}
    slow, hold = np.array(disagreement.SLOW_AT), np.array(disagreement.HOLD_AT)
    for i, part in enumerate((disagreement.SUCCESSIVE, disagreement.SAMPLES)):
        with_it = next((verdict for verdict in verdicts if part in verdict.parts), None)
        if with_it is not None:
            place = with_it.parts.index(part)
            slow[i], hold[i] = with_it.slow_at[place], with_it.hold_at[place]
    meter = DisagreementMeter(slow, hold, _slow_percent(verdicts, disagreement.SLOW_PERCENT))
    events: list[tuple[int, int, int, Rows, ChunkMessage]] = [
        (chunk.received_ns, 0, chunk.chunk_id, Rows.of(chunk), chunk) for chunk in run.chunks
    ]
    if run.bag.topic("action_chunk_sample") is not None:
        for received, message in run.bag.messages("action_chunk_sample"):
            sample = read_chunk(message, received)
            # The sample of a chunk that the monitor heard counts from the chunk after next on, whenever it came.
            events.append((received, 1, sample.chunk_id, Rows.of(sample), sample))
    first = next((i for i, chunk in enumerate(run.chunks) if _key(chunk) in told), len(run.chunks))
    since = run.chunks[max(0, first - 1)].received_ns
    for received, sampled, number, rows, chunk in sorted(events, key=lambda event: event[:2]):
        if received < since:
            continue
        if sampled:
            meter.take_sample(number, rows)
            continue
        now = meter.take(number, rows, chunk.checkpoint_sha256)
        if (then := told.get(_key(chunk))) is not None:
            yield then, now


def _key(chunk: ChunkMessage) -> tuple[int, int]:
    return chunk.stamp_ns, chunk.chunk_id
