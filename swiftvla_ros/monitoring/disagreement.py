# SPDX-License-Identifier: Apache-2.0
"""How far chunks contradict each other: one and the next where they overlap, and two samples of one observation.

A policy that knows what it does wants at one time what it wanted for that time a moment ago (temporal consistency as
STAC has it: C. Agia et al., CoRL 2024; here of one sample each, which costs nothing). One contradiction says little:
a policy that doesn't know what to do contradicts itself a little all the time, so a mean over a while is judged.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.monitoring.verdict import Latch, Verdict, VerdictLevel
from swiftvla_ros.observation.message_fields import ChunkMessage

Array = NDArray[np.float64]

NAME = "disagreement"
WINDOW_S = 1.0
"""Over so long a mean is taken, or over :data:`LEAST` comparisons where those take longer."""
LEAST = 3
"""A mean of fewer is chance."""
SUCCESSIVE, SAMPLES = f"successive chunks over {WINDOW_S:g} s", f"samples over {WINDOW_S:g} s"
"""Parts: root mean square distance over rows and joints, mean of those in the window, rad (or m)."""
PROGRESS = np.array([0.0, 0.5, 1.0])
"""What an arm may have done of its plan in the time between two chunks: it stood, was slowed, or went as planned."""
_APART_S = 0.1
"""Chunks further apart contradict each other more, as the root of the time between them: told as for so long a time."""
SLOW_AT, HOLD_AT, SLOW_PERCENT = (0.024, 0.026), (0.029, 0.029), 50.0
"""Bounds of both parts, rad: of the shipped checkpoint at 10 chunks a second (docs/monitors.md)."""
_WINDOW_NS = round(1e9 * WINDOW_S)
_KEPT, _SAMPLE_LAG = 20, 2


@dataclass(frozen=True)
class Rows:
    """A chunk's rows [H, J], rad or m, for ``stamp_ns`` + i · ``step_ns``, and what it was told."""

    stamp_ns: int
    step_ns: int
    positions: Array
    instruction_id: int = 0

    @classmethod
    def of(cls, chunk: ChunkMessage) -> Rows:
        """Those of a message."""
        return cls(chunk.stamp_ns, chunk.step_ns, chunk.positions, chunk.instruction_id)


def disagreement(before: Rows, after: Rows) -> Array | None:
    """Root mean square distance [J] of two chunks where both have rows, straight lines between rows.

    An arm that is slowed or held isn't as far as the plan had it, and that is no contradiction: of what it may have
    done in the time between them (:data:`PROGRESS`), what fits best counts. None where they were told different things,
    have other joints, or no time in common.
    """
    if before.instruction_id != after.instruction_id or before.positions.shape[1:] != after.positions.shape[1:]:
        return None
    done = PROGRESS[:, None] * ((after.stamp_ns - before.stamp_ns) / before.step_ns)
    at = done + np.arange(len(after.positions)) * (after.step_ns / before.step_ns)
    shared = at <= len(before.positions) - 1
    # Where the plan was followed they share the fewest times.
    if after.stamp_ns < before.stamp_ns or not shared[-1].any():
        return None
    index = np.minimum(at.astype(np.int64), len(before.positions) - 2)
    then = before.positions[index] + (at - index)[..., None] * (before.positions[index + 1] - before.positions[index])
    squares = np.where(shared[..., None], (after.positions - then) ** 2, 0.0).sum(axis=1) / shared.sum(axis=1)[:, None]
    return np.asarray(np.sqrt(squares[squares.sum(axis=1).argmin()]))


class DisagreementMeter:
    """The same chunks give the same verdicts, live and from a bag.

    A hold lasts until the policy is told something else: an arm that stands shows it the same picture again and again,
    on which it agrees with itself.

    Parameters
    ----------
    slow_at, hold_at
        From where on successive chunks, and two samples, slow and hold: [2], rad (or m).
    slow_percent
        The speed at which the arm goes on between them.
    """

    def __init__(self, slow_at: Array, hold_at: Array, slow_percent: float) -> None:
        self._slow_at, self._hold_at = slow_at, hold_at
        self._percent = {VerdictLevel.SLOW: slow_percent, VerdictLevel.HOLD: 0.0}
        self._latch = Latch()
        self._newest: dict[int, Rows] = {}
        self._since_ns = 0  # when what is compared began
        self._held = False
        self._successive: deque[tuple[int, float]] = deque()
        self._samples: dict[int, tuple[int, float]] = {}

    def take(self, chunk_id: int, rows: Rows, checkpoint_sha256: str = "") -> Verdict | None:
        """Judge a chunk and those of the last second against each one before; None in the first second."""
        before = next(reversed(self._newest.values()), None)
        self._newest[chunk_id] = rows
        while len(self._newest) > _KEPT:
            self._newest.pop(next(iter(self._newest)))
        if before is not None and before.instruction_id != rows.instruction_id:
            self._held = False
        found = None if before is None or rows.stamp_ns <= before.stamp_ns else disagreement(before, rows)
        if before is None or found is None:
            self._since_ns = rows.stamp_ns
            self._successive.clear()
            self._samples.clear()
            self._latch.forget()
            return None
        apart_s = (rows.stamp_ns - before.stamp_ns) / 1e9
        self._successive.append((rows.stamp_ns, _size(found) * float(np.sqrt(_APART_S / apart_s))))
        while len(self._successive) > LEAST and self._successive[0][0] <= rows.stamp_ns - _WINDOW_NS:
            self._successive.popleft()
        # The first moments are unlike the rest: a policy that was just told something makes up its mind.
        if len(self._successive) < LEAST or rows.stamp_ns < self._since_ns + _WINDOW_NS:
            return None
        since_ns = self._successive[0][0]
        # Samples of earlier chunks than the last: whether that one's is here already is chance.
        sampled = [
            value
            for number, (stamp_ns, value) in self._samples.items()
            if number <= chunk_id - _SAMPLE_LAG and stamp_ns >= since_ns
        ]
        self._samples = dict(list(self._samples.items())[-_KEPT:])
        values = np.array([np.mean([value for _, value in self._successive]), np.mean(sampled) if sampled else np.nan])
        known = np.isfinite(values)
        slow_at, hold_at = self._slow_at[known], self._hold_at[known]
        level = self._latch.judge(rows.stamp_ns, values[known], slow_at, hold_at)
        self._held |= level is VerdictLevel.HOLD
        if self._held:
            level = VerdictLevel.HOLD
        parts = tuple(part for part, seen in zip((SUCCESSIVE, SAMPLES), known, strict=True) if seen)
        figures = [f"{part} differ by {1e3 * v:.0f} mrad" for part, v in zip(parts, values[known], strict=True)]
        text = {
            VerdictLevel.SLOW: "the policy contradicts itself: ",
            VerdictLevel.HOLD: "the policy contradicted itself, and is held until it is told something else: ",
        }.get(level, "") + ", ".join(figures)
        return Verdict(
            NAME,
            rows.stamp_ns,
            chunk_id,
            level,
            self._percent.get(level, 100.0),
            text,
            checkpoint_sha256,
            parts,
            values[known],
            slow_at,
            hold_at,
        )

    def take_sample(self, chunk_id: int, rows: Rows) -> None:
        """Take another sample of the observation of a chunk; it counts from the verdict on the chunk after next on."""
        first = self._newest.get(chunk_id)
        found = None if first is None else disagreement(first, rows)
        if first is not None and found is not None:
            self._samples[chunk_id] = first.stamp_ns, _size(found)


def _size(distance: Array) -> float:
    """Root mean square over joints [J]."""
    return float(np.sqrt((distance**2).mean()))
