# SPDX-License-Identifier: Apache-2.0
"""What others follow chunks with, to be compared with: a queue of rows, position steps straight to the arm."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.executor_codes import Mode
from swiftvla_ros.motion.chunk import Command, JointChunk, OfferResult

Array = NDArray[np.float64]


class PlainQueue:
    """A newer chunk replaces the chunk. No limits, no blending, no velocity.

    Rows are aligned by the chunk's stamp, so past rows are dropped; that is the kinder half of what is found in the
    field, where they are often executed late. When the rows end, the arm stays at the last one.

    Parameters
    ----------
    between
        What is sent between two rows: the earlier row ("hold", what a queue that is popped once a step does), or a
        straight line ("line", what the kinder ones do).

    Attributes
    ----------
    accepted, refused
        Counts of chunks; nothing is ever refused.
    """

    def __init__(self, between: Literal["hold", "line"] = "hold") -> None:
        self._between = between
        self._chunk: JointChunk | None = None
        self._ticked_ns = 0
        self.accepted = 0
        self.refused = 0

    @property
    def mode(self) -> Mode:
        """FRESH as soon as there is a chunk: a queue knows nothing else."""
        return Mode.IDLE if self._chunk is None else Mode.FRESH

    @property
    def chunk_id(self) -> int:
        """The chunk being followed; 0 when there is none."""
        return 0 if self._chunk is None else self._chunk.chunk_id

    @property
    def row(self) -> float:
        """Place between its rows at the last tick; -1 when there is none."""
        return -1.0 if self._chunk is None else (self._ticked_ns - self._chunk.stamp_ns) / self._chunk.step_ns

    def planned_rows(self) -> Array:
        """Its chunk's rows as they are; none before the first."""
        return np.zeros((0, 0)) if self._chunk is None else self._chunk.positions

    def measured(self, _position: Array, _now_ns: int) -> bool:
        """A queue doesn't look at the arm."""
        return True

    def offer(self, chunk: JointChunk, _now_ns: int) -> OfferResult:
        """Follow ``chunk`` from now on."""
        self._chunk = chunk
        self.accepted += 1
        return OfferResult()

    def tick(self, now_ns: int) -> Command | None:
        """The position for ``now_ns``; None before the first chunk."""
        chunk, self._ticked_ns = self._chunk, now_ns
        if chunk is None:
            return None
        last = len(chunk.positions) - 1
        place = min(max((now_ns - chunk.stamp_ns) / chunk.step_ns, 0.0), float(last))
        row = int(place)
        position = chunk.positions[row].copy()
        if self._between == "line":
            position += (place - row) * (chunk.positions[min(row + 1, last)] - position)
        still = np.zeros_like(position)
        return Command(now_ns, position, still, still)
