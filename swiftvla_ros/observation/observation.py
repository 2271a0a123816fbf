# SPDX-License-Identifier: Apache-2.0
"""What a policy reads, and which instructions it accepts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_INSTRUCTION_CHARACTERS = 256
NO_GUIDANCE = "none"
"""Chunk guidance that is none: every chunk is computed from its observation alone."""


class InstructionError(ValueError):
    """An instruction that is refused; the message says why."""


@dataclass(frozen=True)
class Observation:
    """One conditioned observation.

    Attributes
    ----------
    images
        Camera name → RGB uint8 [h, w, 3], of the contract's size.
    state
        Proprioceptive state: joint positions, float64 [J], rad (or m), contract order.
    instruction
        What the robot shall do.
    geometry
        For studies: the front view's pooled 4D features [64, dim]; only a policy loaded ``with_4d`` reads them.
    """

    images: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float64]
    instruction: str
    geometry: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class RowsAhead:
    """What a chunk shall continue: the network's normalised rows [n, J] in the checkpoint's order, from row 0 on.

    So many will have been ``executed`` when the chunk arrives; the others are only planned.
    """

    rows: NDArray[np.float32]
    executed: int


def validate_instruction(text: str) -> str:
    """The instruction without surrounding white space; InstructionError says why it is refused."""
    stripped = text.strip()
    if not stripped:
        raise InstructionError("the instruction is empty; write what the robot shall do, e.g. 'pick up the red block'")
    if len(stripped) > MAX_INSTRUCTION_CHARACTERS:
        raise InstructionError(
            f"the instruction has {len(stripped)} characters; write at most {MAX_INSTRUCTION_CHARACTERS}"
        )
    if not stripped.isprintable():
        raise InstructionError("the instruction holds control characters; write one line of plain text")
    return stripped
