# SPDX-License-Identifier: Apache-2.0
"""What the arm will do without a newer chunk: the policy's own chunks, and what the executor says that it follows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_NS = 1_000_000_000
# A chunk that the executor does not follow so long after it was published was refused, or got lost.
_TAKEN_WITHIN_S = 0.1
# A place that the executor told so long ago says nothing about the arm any more.
_HEARD_WITHIN_S = 0.3
_KEPT = 8
# How long the executor takes from the older path onto a chunk's rows, more or less: it depends on how far they are.
_FADES_OVER_S = 0.4


@dataclass(frozen=True)
class Following:
    """What the executor said last.

    Attributes
    ----------
    stamp_ns
        Time that it speaks of.
    chunk_id
        The chunk that it follows.
    row
        Its place between that chunk's rows at ``stamp_ns``.
    moving
        Whether it follows rows (fresh or tail), instead of slowing down, holding or having no chunk.
    speed_scale
        Rows that pass in one step's time: 1 unless it was told to go slower.
    position
        What it commanded at ``stamp_ns`` [J]; None where that isn't known.
    """

    stamp_ns: int
    chunk_id: int
    row: float
    moving: bool
    speed_scale: float = 1.0
    position: Array | None = None


@dataclass(frozen=True)
class _Published:
    chunk_id: int
    stamp_ns: int
    positions: Array
    instruction_id: int
    published_ns: int


class RowsToCome:
    """Tells what will be commanded at the rows of a chunk that is about to be computed.

    The executor comes from the older path and stays inside limits, so it is not on a chunk's rows at once: how far off
    it is at the moment is known, and is taken to fade out. Beyond that, rows are joined by straight lines.

    Parameters
    ----------
    step_s
        Time between rows of all chunks.
    """

    def __init__(self, step_s: float) -> None:
        self._step_ns = round(step_s * _NS)
        self._published: deque[_Published] = deque(maxlen=_KEPT)
        self._following: Following | None = None

    def clear(self) -> None:
        """Forget everything, as after a clock jump."""
        self._published.clear()
        self._following = None

    def published(self, chunk_id: int, stamp_ns: int, positions: Array, instruction_id: int, now_ns: int) -> None:
        """Take note of a chunk that was sent to the executor."""
        self._published.append(_Published(chunk_id, stamp_ns, positions, instruction_id, now_ns))

    def following(self, state: Following) -> None:
        """Take note of what the executor says."""
        self._following = state

    def at(self, stamp_ns: int, instruction_id: int, executed: int) -> tuple[Array, Array]:
        """Rows of a chunk whose observation has the stamp ``stamp_ns``.

        Parameters
        ----------
        stamp_ns
            Time of row 0.
        instruction_id
            Instruction of the chunk. Of another instruction's chunk only what will be executed anyway is told.
        executed
            Rows that will have been executed when the chunk arrives.

        Returns
        -------
        tuple[Array, Array]
            Positions [d, J] that will have been executed, d at most ``executed``, and [n, J] that are planned after
            them; both empty while the arm rests, slows down or nothing is known.
        """
        followed = self._followed(stamp_ns)
        if followed is None:
            return np.zeros((0, 0)), np.zeros((0, 0))
        chunk, first, scale = followed
        count = int((len(chunk.positions) - 1 - first) / scale) + 1
        rows = _between(chunk.positions, first + scale * np.arange(max(count, 0), dtype=np.float64))
        rows = rows + self._distance(chunk, stamp_ns, len(rows))
        planned = rows[executed:] if chunk.instruction_id == instruction_id else rows[:0]
        return rows[:executed], planned

    def _distance(self, chunk: _Published, stamp_ns: int, rows: int) -> Array:
        """How far the command will be from the chunk's rows [rows, J]."""
        state = self._following
        if state is None or state.position is None:
            return np.zeros((rows, chunk.positions.shape[1]))
        place, _ = self._place(chunk, state, state.stamp_ns)
        now = state.position - _between(chunk.positions, np.array([place]))[0]
        later_s = (stamp_ns - state.stamp_ns + self._step_ns * np.arange(rows)) / _NS
        u = np.clip(later_s / _FADES_OVER_S, 0.0, 1.0)[:, None]
        return (1 - u**3 * (10 - 15 * u + 6 * u**2)) * now

    def _followed(self, stamp_ns: int) -> tuple[_Published, float, float] | None:
        """The followed chunk, the place in it at ``stamp_ns``, and the speed; None where there is none."""
        state = self._following
        if state is None or not state.moving or not self._published or state.speed_scale <= 0:
            return None
        if abs(stamp_ns - state.stamp_ns) > _HEARD_WITHIN_S * _NS:
            return None
        newest = self._published[-1]
        just_sent = newest.chunk_id != state.chunk_id and state.stamp_ns - newest.published_ns < _TAKEN_WITHIN_S * _NS
        chunk = newest if just_sent else next((c for c in self._published if c.chunk_id == state.chunk_id), None)
        return None if chunk is None else (chunk, *self._place(chunk, state, stamp_ns))

    def _place(self, chunk: _Published, state: Following, stamp_ns: int) -> tuple[float, float]:
        """The place between a chunk's rows at ``stamp_ns``, and how many rows pass in one step's time."""
        if chunk.chunk_id != state.chunk_id:
            return (stamp_ns - chunk.stamp_ns) / self._step_ns, 1.0
        return state.row + state.speed_scale * (stamp_ns - state.stamp_ns) / self._step_ns, state.speed_scale


def _between(positions: Array, places: Array) -> Array:
    """Positions [R, J] at places between their rows; the first or last row beyond them."""
    places = np.clip(places, 0.0, len(positions) - 1)
    before = places.astype(np.int64)
    share = (places - before)[:, None]
    after = np.minimum(before + 1, len(positions) - 1)
    return np.asarray((1 - share) * positions[before] + share * positions[after])
