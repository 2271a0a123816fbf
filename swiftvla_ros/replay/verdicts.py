# SPDX-License-Identifier: Apache-2.0
"""Computes the monitors' verdicts again, from what the monitors were told then, and compares."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
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

Pairs = Iterator[tuple[VerdictMessage, Verdict | None]]
"""Each verdict as it was recorded, and as it is computed now; None where it can't be."""

# Another processor adds up in another order.
_RELATIVE = 1e-5


@dataclass(frozen=True)
class VerdictComparison:
    """One monitor's verdicts: recorded, computed again, and what is otherwise now, in sentences.

    ``note`` says why some can't be computed again.
    """

    monitor: str
    recorded: int
    computed: int
    differences: tuple[str, ...]
    note: str = ""


def compare_verdicts(run: RecordedRun, checkpoint: Path, contract: Contract) -> list[VerdictComparison]:
    """Compare each monitor that the bag has verdicts of; those of monitors that this package doesn't know are left."""
    told: dict[str, list[VerdictMessage]] = {}
    if run.bag.topic("monitor_verdicts") is not None:
        for _, message in run.bag.messages("monitor_verdicts"):
            verdict = read_verdict(message)
            told.setdefault(verdict.monitor, []).append(verdict)
    again: dict[str, Callable[[list[VerdictMessage]], Pairs]] = {
        envelope_monitor.NAME: lambda verdicts: _envelope(run, checkpoint, contract, verdicts),
        disagreement.NAME: lambda verdicts: _disagreement(run, verdicts),
    }
    found = []
    for name in sorted(told.keys() & again.keys()):
        pairs = [(then, now) for then, now in again[name](told[name]) if now is not None]
        differences = [text for then, now in pairs if (text := _difference(then, now))]
        found.append(VerdictComparison(name, len(told[name]), len(pairs), tuple(differences), _note(told[name])))
    return found


def _note(verdicts: list[VerdictMessage]) -> str:
    """Why verdicts of another version of the monitor are left out; empty where there are none."""
    foreign = next((verdict for verdict in verdicts if not _of_this_rule(verdict)), None)
    return "" if foreign is None else f"an earlier version judged {list(foreign.parts)}, which this one does not"


def _of_this_rule(verdict: VerdictMessage) -> bool:
    """Whether the meter measures today what it measured then."""
    known = (disagreement.SUCCESSIVE, disagreement.SAMPLES)
    return verdict.monitor != disagreement.NAME or set(verdict.parts) <= set(known)


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


def _once_known(pairs: Pairs) -> Pairs:
    """Those of a recording that began in the middle of a run, from where on the level depends on nothing before it."""
    known = False
    for then, now in pairs:
        known = known or (now is not None and then.percent == 100.0 and bool((now.values <= now.slow_at).all()))
        yield then, now if known else None


def _envelope(run: RecordedRun, checkpoint: Path, contract: Contract, verdicts: list[VerdictMessage]) -> Pairs:
    pairs = _envelope_again(run, checkpoint, contract, verdicts)
    first = run.chunks[0]
    heard_earlier = first.chunk_id > 1 and _key(first) in {(v.stamp_ns, v.chunk_id) for v in verdicts}
    return _once_known(pairs) if heard_earlier else pairs


def _envelope_again(run: RecordedRun, checkpoint: Path, contract: Contract, verdicts: list[VerdictMessage]) -> Pairs:
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


def _disagreement(run: RecordedRun, verdicts: list[VerdictMessage]) -> Pairs:
    told = {(verdict.stamp_ns, verdict.chunk_id): verdict for verdict in verdicts if _of_this_rule(verdict)}
    since = _heard_since(run, told.keys())
    pairs = _disagreement_again(run, told, since)
    return pairs if since else _once_known(pairs)


def _disagreement_again(run: RecordedRun, told: dict[tuple[int, int], VerdictMessage], since: int) -> Pairs:
    verdicts = list(told.values())
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
    for received, sampled, number, rows, chunk in sorted(events, key=lambda event: event[:2]):
        if received < since:
            continue
        if sampled:
            meter.take_sample(number, rows)
            continue
        now = meter.take(number, rows, chunk.checkpoint_sha256)
        if (then := told.get(_key(chunk))) is not None:
            yield then, now


def _heard_since(run: RecordedRun, told: Container[tuple[int, int]]) -> int:
    """When the meter heard its first chunk, for the first verdict comes a window later; 0: before the recording."""
    chunks = run.chunks
    first = next((i for i, chunk in enumerate(chunks) if _key(chunk) in told), len(chunks))
    latest = 0 if first == len(chunks) else chunks[first].stamp_ns - round(1e9 * disagreement.WINDOW_S)
    heard = [c.received_ns for c in chunks[: max(0, first - disagreement.LEAST + 1)] if c.stamp_ns <= latest]
    return heard[-1] if heard else 0


def _key(chunk: ChunkMessage) -> tuple[int, int]:
    return chunk.stamp_ns, chunk.chunk_id
