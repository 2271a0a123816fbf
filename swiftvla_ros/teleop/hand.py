# SPDX-License-Identifier: Apache-2.0
"""What moves the arm in a person's name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class TeleopPhase(IntEnum):
    """Phases of an engagement; numbers as in ``msg/TeleopState.msg``."""

    RELEASED = 0
    STOPPING = 1
    APPROACHING = 2
    FOLLOWING = 3
    HELD = 4


@dataclass(frozen=True)
class OperatorRows:
    """Rows [R, J] of an operator's chunk: row i is the command for ``stamp_ns + i * step_ns``; rad or m."""

    stamp_ns: int
    step_ns: int
    positions: Array


class OperatorHand(Protocol):
    """A leader arm, or a jog."""

    def arm(self) -> None:
        """A person engages: what went wrong before counts no more."""

    def problem(self, now_ns: int) -> str:
        """Why it can lead nothing now, in one sentence with topic or joint and fix; empty where it can."""

    def target(self) -> Array | None:
        """The pose [J] that it wants the arm to be in; None for one that moves the arm from where it is."""

    def begin(self, pose: Array, now_ns: int) -> None:
        """The arm rests, or is commanded, at ``pose`` [J], and follows from now on."""

    def rows(self, now_ns: int) -> OperatorRows | None:
        """What is wanted from now on; None while there is nothing new."""
