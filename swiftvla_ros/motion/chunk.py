# SPDX-License-Identifier: Apache-2.0
"""An action chunk, and what is wrong with one taken by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.executor_codes import Refusal

Array = NDArray[np.float64]

NS = 1_000_000_000


@dataclass(frozen=True)
class Chunk:
    """Commanded joint positions for a short time ahead, as a policy predicts them.

    Attributes
    ----------
    stamp_ns
        Stamp of the observation that the chunk was computed from. Row i is the command for ``stamp_ns + i * step_ns``.
    step_ns
        Time between rows.
    positions
        float64 [rows, joints], rad or m.
    chunk_id, instruction_id, checkpoint
        Where the chunk comes from. Rows of an older chunk outlive a newer one only under the same instruction and
        checkpoint.
    joint_names
        The columns' joints, in any order; None says that they stand in the executor's own order.
    """

    stamp_ns: int
    step_ns: int
    positions: Array
    chunk_id: int = 0
    instruction_id: int = 0
    checkpoint: str = ""
    joint_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Verdict:
    """What the executor said to a chunk: taken, or refused with a code and a text for people."""

    code: Refusal = Refusal.NONE
    text: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the chunk is being followed from now on."""
        return self.code is Refusal.NONE


@dataclass(frozen=True)
class Command:
    """What every joint is commanded at one tick: arrays [J], rad or m, per s, per s²."""

    stamp_ns: int
    position: Array
    velocity: Array
    acceleration: Array
