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
    """

    stamp_ns: int
    chunk_id: int
    row: float
    moving: bool
    speed_scale: float = 1.0


@dataclass(frozen=True)
class _Published:
    chunk_id: int
    stamp_ns: int
    positions: Array
    instruction_id: int
    published_ns: int


class RowsToCome:
    """Tells what will be commanded at the rows of a chunk that is about to be computed.

    The executor goes through a chunk's rows with a spline, inside limits; here rows are joined by straight lines, which
    is as near as the rows themselves are spaced.

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
        last = len(chunk.positions) - 1
        count = int((last - first) / scale) + 1
        places = np.maximum(first + scale * np.arange(max(count, 0)), 0.0)
        before = np.minimum(places.astype(np.int64), last)
        share = (places - before)[:, None]
        rows = (1 - share) * chunk.positions[before] + share * chunk.positions[np.minimum(before + 1, last)]
        planned = rows[executed:] if chunk.instruction_id == instruction_id else rows[:0]
        return rows[:executed], planned

    def _followed(self, stamp_ns: int) -> tuple[_Published, float, float] | None:
        """The followed chunk, the place in it at ``stamp_ns``, and the speed; None where there is none."""
        state = self._following
        if state is None or not state.moving or not self._published or state.speed_scale <= 0:
            return None
        if abs(stamp_ns - state.stamp_ns) > _HEARD_WITHIN_S * _NS:
            return None
        newest = self._published[-1]
        just_sent = newest.chunk_id != state.chunk_id and state.stamp_ns - newest.published_ns < _TAKEN_WITHIN_S * _NS
        if just_sent:
            return newest, (stamp_ns - newest.stamp_ns) / self._step_ns, 1.0
        chunk = next((chunk for chunk in self._published if chunk.chunk_id == state.chunk_id), None)
        if chunk is None:
            return None
        place = state.row + state.speed_scale * (stamp_ns - state.stamp_ns) / self._step_ns
        return chunk, place, state.speed_scale
