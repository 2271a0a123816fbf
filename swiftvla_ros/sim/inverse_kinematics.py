# SPDX-License-Identifier: Apache-2.0
"""Joint positions that bring a point of the hand to a point above the table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.contract import Contract

Array = NDArray[np.float64]

PITCH_RAD = np.radians(68.0)
"""The hand's approach angle below the horizontal: steep, and blocks can be lifted from the whole workspace with it."""
_ARM = 5  # every joint but the gripper
# A configuration near most solutions, so that the iteration ends at the same branch from everywhere, and one with the
# hand high and near the base: from the first, the iteration may turn the elbow over on its way there.
_NOMINALS = np.array([[0.0, -0.3, 0.5, 1.1, 1.62], [0.0, -0.9, 0.6, 1.4, 1.62]])
_DIFFERENCE = 1e-6


class OutOfReachError(ValueError):
    """No joint positions bring the hand there."""


class InverseKinematics:
    """Inverse kinematics of the hand at its fixed approach angle, with the jaws opening sideways."""

    def __init__(self, contract: Contract) -> None:
        if contract.chain is None:
            raise ValueError(f"{contract.path}: kinematics: missing; the simulation needs the arm's URDF")
        self._chain = contract.chain
        self._low = contract.limits.min_position[:_ARM]
        self._high = contract.limits.max_position[:_ARM]

    def solve(self, xyz: Array, tool: Array | None = None) -> Array:
        """Arm joints [5], rad, that put a tool point at a target [3] (m, base frame).

        The tool is a point of the hand [3], m, in the end effector's frame; the end effector itself by default. Raises
        OutOfReachError where there is no solution within the joint limits.
        """
        offset = np.zeros(3) if tool is None else np.asarray(tool, dtype=np.float64)
        for nominal in _NOMINALS:
            q = self._iterate(nominal, xyz, offset)
            if q is not None:
                return q
        pitch = np.degrees(PITCH_RAD)
        raise OutOfReachError(f"the hand cannot reach {np.round(xyz, 3).tolist()} m at {pitch:.0f}° pitch")

    def _iterate(self, nominal: Array, xyz: Array, offset: Array) -> Array | None:
        """Newton's iteration from ``nominal`` [5], turned to the target; None where it ends outside the limits."""
        q = nominal.copy()
        q[0] = -np.arctan2(xyz[1], xyz[0] - 0.04)
        steps = np.concatenate([np.zeros((1, _ARM)), np.eye(_ARM) * _DIFFERENCE])
        for _ in range(30):
            residuals = self._residual(q + steps, xyz, offset)
            residual = residuals[0]
            if np.abs(residual).max() < 1e-8:
                break
            jacobian = (residuals[1:] - residual).T / _DIFFERENCE
            q = q - np.clip(np.linalg.solve(jacobian + 1e-9 * np.eye(_ARM), residual), -0.3, 0.3)
        if np.abs(residual).max() > 1e-5 or (q < self._low).any() or (q > self._high).any():
            return None
        return q

    def _residual(self, q: Array, xyz: Array, offset: Array) -> Array:
        """Position error (m), approach angle error and roll error of ``q`` [N, 5]: [N, 5]."""
        full = np.concatenate([q, np.zeros((len(q), 1))], axis=1)
        pose = self._chain.pose(full)
        tool = pose[:, :3, 3] + pose[:, :3, :3] @ offset
        angle = pose[:, 2, 2] + np.sin(PITCH_RAD)
        return np.concatenate([tool - xyz, angle[:, None], pose[:, 2, 0][:, None]], axis=1)
