# SPDX-License-Identifier: Apache-2.0
"""Rows at times on the path, whichever chunks they come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.motion.chunk import JointChunk

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PlannedRows:
    """Rows at absolute times, of one chunk or of a chunk and the tail of an older one.

    ``positions`` [K, J] lie inside the limits, ``times_ns`` [K] rise strictly. ``first_ns`` is the time of the chunk's
    row 0, past or not.
    """

    times_ns: NDArray[np.int64]
    positions: Array
    chunk: JointChunk
    first_ns: int

    @property
    def end_ns(self) -> int:
        """Time of the last row."""
        return int(self.times_ns[-1])


def same_source(one: JointChunk, other: JointChunk) -> bool:
    """Whether rows of both belong to one intention: the same instruction of the same checkpoint, or one operator's."""
    return (one.source, one.instruction_id, one.checkpoint) == (other.source, other.instruction_id, other.checkpoint)
