# SPDX-License-Identifier: Apache-2.0
"""Joint speeds that move the tool as wanted: damped least squares, after Wampler (1986)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.kinematics import KinematicChain

Array = NDArray[np.float64]

_STEP_RAD = 1e-5
# Near a pose that can't move as wanted, speeds stay finite; elsewhere this bends the motion by some per cent.
_DAMPING = 0.05
# A metre a second weighs as much as so many radians a second: the place before the direction, where five joints can't
# have both.
_TURN_WEIGHT_M = 0.1


def joint_speeds(chain: KinematicChain, q: Array, linear: Array, angular: Array) -> Array:
    """Speeds [J], rad/s or m/s, at ``q`` [J] for a twist of the end effector in the root frame, m/s and rad/s."""
    here = chain.pose(q)
    moved = chain.pose(q + _STEP_RAD * np.eye(len(q)))
    place = (moved[:, :3, 3] - here[:3, 3]) / _STEP_RAD
    turn = (moved[:, :3, :3] @ here[:3, :3].T) / _STEP_RAD
    # A small turn is 1 + [axis]×.
    axis = np.stack([turn[:, 2, 1], turn[:, 0, 2], turn[:, 1, 0]], axis=1)
    jacobian = np.concatenate([place, _TURN_WEIGHT_M * axis], axis=1).T
    twist = np.concatenate([linear, _TURN_WEIGHT_M * angular])
    square = jacobian @ jacobian.T + _DAMPING**2 * _TURN_WEIGHT_M**2 * np.eye(6)
    return np.asarray(jacobian.T @ np.linalg.solve(square, twist))
