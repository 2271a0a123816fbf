# SPDX-License-Identifier: Apache-2.0
"""What a policy's rows mean: positions, steps or velocities, and the way from one to the other.

On the ``action_chunk`` topic rows are always positions; what a policy predicts as steps or velocities is turned into
positions at once.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ActionKind = Literal["absolute", "delta_to_state", "delta_per_step", "velocity"]
ACTION_KINDS: tuple[str, ...] = get_args(ActionKind)


def absolute_rows(
    kind: str, rows: Array, state: Array, step_s: float, gripper: NDArray[np.bool_] | None = None
) -> Array:
    """Turn a policy's rows into positions.

    Parameters
    ----------
    kind
        One of :data:`ACTION_KINDS`; raises ValueError for another.
    rows
        [R, J], rad or m, or per s.
    state
        Joint state [J] of the observation.
    step_s
        Time between rows.
    gripper
        Columns [J] that hold positions whatever the kind; :attr:`Contract.gripper_mask`.

    Returns
    -------
    Array
        Positions [R, J], rad or m.
    """
    rows, state = np.asarray(rows, dtype=np.float64), np.asarray(state, dtype=np.float64)
    _check(kind)
    if kind == "absolute":
        return rows.copy()
    if kind == "delta_to_state":
        positions = state + rows
    else:
        positions = state + np.cumsum(rows * (step_s if kind == "velocity" else 1.0), axis=0)
    if gripper is not None:
        positions[:, gripper] = rows[:, gripper]
    return np.asarray(positions)


def relative_rows(
    kind: str, positions: Array, state: Array, step_s: float, gripper: NDArray[np.bool_] | None = None
) -> Array:
    """Turn positions [R, J] into a policy's rows; the inverse of :func:`absolute_rows`."""
    positions, state = np.asarray(positions, dtype=np.float64), np.asarray(state, dtype=np.float64)
    _check(kind)
    if kind == "absolute":
        return positions.copy()
    if kind == "delta_to_state":
        rows = positions - state
    else:
        rows = np.diff(positions, axis=0, prepend=state[None]) / (step_s if kind == "velocity" else 1.0)
    if gripper is not None:
        rows[:, gripper] = positions[:, gripper]
    return np.asarray(rows)


def _check(kind: str) -> None:
    if kind not in ACTION_KINDS:
        raise ValueError(f"policy.actions: '{kind}' is unknown; write one of {list(ACTION_KINDS)}")
