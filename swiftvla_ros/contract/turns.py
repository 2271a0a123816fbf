# SPDX-License-Identifier: Apache-2.0
"""Angles of continuous joints: those that differ by whole turns are the same place."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

TURN = 2 * math.pi


def nearest(positions: Array, near: Array, continuous: Flags) -> Array:
    """Positions [..., J]; those of ``continuous`` joints [J] by whole turns as near to ``near`` [..., J] as they are.

    Other joints, and what is nearest already, keep their value to the last bit.
    """
    if not continuous.any():
        return positions
    positions = _angles(positions, continuous)
    turns = np.round((positions - near) / TURN)
    return np.where(continuous & (turns != 0.0), positions - turns * TURN, positions)


def unwrapped(rows: Array, continuous: Flags) -> Array:
    """Rows [..., K, J] of which each is, at ``continuous`` joints [J], the nearest to the row before by whole turns."""
    if not continuous.any():
        return rows
    rows = _angles(rows, continuous)
    turns = np.zeros_like(rows)
    turns[..., 1:, :] = np.cumsum(np.round(np.diff(rows, axis=-2) / TURN), axis=-2)
    return np.where(continuous & (turns != 0.0), rows - turns * TURN, rows)


def _angles(positions: Array, continuous: Flags) -> Array:
    """The same, but for numbers so large that taking turns off them would leave rounding only."""
    return np.where(continuous & (np.abs(positions) >= 1e6), np.fmod(positions, TURN), positions)
