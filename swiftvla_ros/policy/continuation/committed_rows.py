# SPDX-License-Identifier: Apache-2.0
"""What the arm will do without a newer chunk: the rows that the executor tells of, and a fallback until it does."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.executor_codes import Mode
from swiftvla_ros.policy.continuation.chunk_delay import MeasuredDelay

Array = NDArray[np.float64]

_NS = 1_000_000_000
# A chunk that the executor does not follow so long after it was published was refused, or got lost.
_TAKEN_WITHIN_S = 0.1
# What the executor told so long ago says nothing about the arm any more.
_HEARD_WITHIN_S = 0.3
_KEPT = 8
# The fallback's: how long the executor takes onto a chunk's rows, more or less; it depends on how far they are.
_FADES_OVER_S = 0.4


@dataclass(frozen=True)
class Following:
    """What the executor said.

    Attributes
    ----------
    stamp_ns
        Time that it speaks of.
    mode
        What it does.
    chunk_id
        The chunk that it follows.
    row
        Its place between that chunk's rows at ``stamp_ns``.
    planned
        What is commanded at the times of that chunk's rows, from row 0 on [n, J]; empty where it doesn't tell.
    speed_scale
        Rows that pass in one step's time: 1 unless it was told to go slower.
    """

    stamp_ns: int
    mode: int
    chunk_id: int
    row: float
    planned: Array = field(default_factory=lambda: np.zeros((0, 0)))
    speed_scale: float = 1.0

    @property
    def moving(self) -> bool:
        """Whether it follows rows, instead of slowing down, holding or having no chunk."""
        return self.mode in (Mode.FRESH, Mode.TAIL) and 0 <= self.row < math.inf and 0 < self.speed_scale <= 1


@dataclass(frozen=True)
class _Published:
    chunk_id: int
    stamp_ns: int
    positions: Array
    instruction_id: int
    published_ns: int


class CommittedRows:
    """Tells what will be commanded at the rows of a chunk that is about to be computed.

    Between rows the path is taken to be straight. Beyond the rows that the executor tells, and for a chunk that it was
    sent and hasn't told of yet (or never does), the policy's own rows stand in: the fallback.

    Parameters
    ----------
    step_s
        Time between rows of all chunks.
    most_executed
        Most rows that are told as executed; 0: nothing is told at all.
    delay
        Measures how long chunks take.
    """

    def __init__(self, step_s: float, most_executed: int, delay: MeasuredDelay) -> None:
        self._step_s, self._most, self._delay = step_s, most_executed, delay
        self._delay_of = 0
        self._published: deque[_Published] = deque(maxlen=_KEPT)
        self._following: Following | None = None
        self._told: Following | None = None

    def clear(self) -> None:
        """Forget everything but the delay, as after a clock jump."""
        self._published.clear()
        self._following = self._told = None

    def published(self, chunk_id: int, stamp_ns: int, positions: Array, instruction_id: int, now_ns: int) -> None:
        """Take note of a chunk that was sent to the executor."""
        self._published.append(_Published(chunk_id, stamp_ns, positions, instruction_id, now_ns))

    def following(self, state: Following, delay_s: float | None) -> None:
        """Take note of what the executor says, and how long its chunk took from the observation to the arm."""
        self._following = state
        if len(state.planned):
            self._told = state
        if delay_s is not None and state.chunk_id != self._delay_of:
            self._delay_of = state.chunk_id
            self._delay.add(delay_s)

    def ahead(self, stamp_ns: int, instruction_id: int) -> tuple[Array, Array] | tuple[None, None]:
        """Rows of a chunk whose observation has the stamp ``stamp_ns``.

        Parameters
        ----------
        stamp_ns
            Time of row 0.
        instruction_id
            Instruction of the chunk. Of another instruction's chunk only what will be executed anyway is told.

        Returns
        -------
        tuple[Array, Array] | tuple[None, None]
            Positions [d, J], d >= 1, that will have been executed when the chunk arrives, and [n, J] that are planned
            after them. None while the arm rests, slows down or nothing is known.
        """
        state = self._following
        if state is None or not state.moving or not self._heard(state, stamp_ns):
            return None, None
        # Rows are steps of the path, of which a slow arm passes fewer while the chunk is computed.
        executed = min(self._delay.rows(self._step_s / state.speed_scale), self._most)
        chunk = self._chunk_at_work(state)
        if chunk is None or not executed:
            return None, None
        rows = self._rows(chunk, state, stamp_ns)
        if not len(rows):
            return None, None
        return rows[:executed], rows[executed:] if chunk.instruction_id == instruction_id else rows[:0]

    def _heard(self, state: Following, stamp_ns: int) -> bool:
        return abs(stamp_ns - state.stamp_ns) <= _HEARD_WITHIN_S * _NS

    def _chunk_at_work(self, state: Following) -> _Published | None:
        """The chunk that is followed: the newest from its publication on, unless it turns out that it isn't."""
        if not self._published:
            return None
        newest = self._published[-1]
        just_sent = newest.chunk_id != state.chunk_id and state.stamp_ns - newest.published_ns < _TAKEN_WITHIN_S * _NS
        return newest if just_sent else next((c for c in self._published if c.chunk_id == state.chunk_id), None)

    def _rows(self, chunk: _Published, state: Following, stamp_ns: int) -> Array:
        """All rows from ``stamp_ns`` to the chunk's end."""
        told = self._told if self._told is not None and self._heard(self._told, stamp_ns) else None
        if state.chunk_id == chunk.chunk_id:
            place = self._place(state, stamp_ns)
        else:
            place = state.speed_scale * (stamp_ns - chunk.stamp_ns) / (self._step_s * _NS)
        steps = np.arange(max(math.floor(len(chunk.positions) - place), 0), dtype=np.float64)
        if told is None:
            return _between(chunk.positions, place + steps)
        if told.chunk_id == chunk.chunk_id:
            return _between(np.concatenate([told.planned, chunk.positions[len(told.planned) :]]), place + steps)
        u = np.clip(self._step_s * steps / _FADES_OVER_S, 0.0, 1.0)[:, None]
        older = _between(told.planned, self._place(told, stamp_ns) + steps)
        # As motion/smooth_step.py, which this room must not import; evaluations were measured with this form's bits.
        return older + u**3 * (10 - 15 * u + 6 * u**2) * (_between(chunk.positions, place + steps) - older)

    def _place(self, state: Following, stamp_ns: int) -> float:
        """Its place between the rows at ``stamp_ns``."""
        return state.row + state.speed_scale * (stamp_ns - state.stamp_ns) / (self._step_s * _NS)


def _between(positions: Array, places: Array) -> Array:
    """Positions [R, J] at places between their rows; the first or last row beyond them."""
    places = np.clip(places, 0.0, len(positions) - 1)
    before = places.astype(np.int64)
    share = (places - before)[:, None]
    after = np.minimum(before + 1, len(positions) - 1)
    return np.asarray((1 - share) * positions[before] + share * positions[after])
