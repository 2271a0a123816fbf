# SPDX-License-Identifier: Apache-2.0
"""What goes through the executor: chunks of joint positions in, answers and commands out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.executor_codes import ChunkSource, Refusal

Array = NDArray[np.float64]

NS = 1_000_000_000


@dataclass(frozen=True)
class JointChunk:
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
    source
        Whose it is: ids, checkpoints and stamps are compared with those of the same source only.
    """

    stamp_ns: int
    step_ns: int
    positions: Array
    chunk_id: int = 0
    instruction_id: int = 0
    checkpoint: str = ""
    joint_names: tuple[str, ...] | None = None
    source: ChunkSource = ChunkSource.POLICY

    @property
    def name(self) -> str:
        """What people call it."""
        owner = "the operator's " if self.source is ChunkSource.OPERATOR else ""
        return f"{owner}chunk {self.chunk_id}"


@dataclass(frozen=True)
class OfferResult:
    """What the executor said to a chunk: taken, or refused with a code and a text for people."""

    code: Refusal = Refusal.NONE
    text: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the chunk is being followed from now on."""
        return self.code is Refusal.NONE


class ChunkRefused(Exception):  # noqa: N818  (an answer, not an error)
    """A chunk is not followed, and nothing moves because of it."""

    def __init__(self, code: Refusal, text: str) -> None:
        super().__init__(text)
        self.result = OfferResult(code, text)


@dataclass(frozen=True)
class MotionStart:
    """Where the motion to a chunk begins that is taken over at ``now_ns``.

    ``state`` is the last commanded position, velocity and acceleration [3, J] at ``state_ns``, ``pose`` where the arm
    is [J]: the same position but for limits, while nothing is commanded.
    """

    now_ns: int
    state: Array
    state_ns: int
    pose: Array
    standing: bool  # with nothing of a plan behind it


@dataclass(frozen=True)
class AcceptedChunk:
    """A chunk that nothing is wrong with, and where the motion to it begins.

    ``positions`` are its rows [rows, J] in the executor's order of joints, ``inside`` the same inside the position
    limits; ``far``: it begins so far from a standing arm that the arm only goes there.
    """

    chunk: JointChunk
    positions: Array
    inside: Array
    start: MotionStart
    far: bool = False


@dataclass(frozen=True)
class Command:
    """What every joint is commanded at one tick: arrays [J], rad or m, per s, per s²."""

    stamp_ns: int
    position: Array
    velocity: Array
    acceleration: Array
