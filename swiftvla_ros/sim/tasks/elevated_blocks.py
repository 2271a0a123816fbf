# SPDX-License-Identifier: Apache-2.0
"""The task in which depth matters: blocks on stands of many heights, seen by a camera that is never quite in place.

Where a block is in the picture no longer tells how far away and how high it is: that takes its size, both cameras, or
the view's motion.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.contract.schema import CameraPose
from swiftvla_ros.sim.backend import mujoco
from swiftvla_ros.sim.language import COLORS
from swiftvla_ros.sim.world import Array

HIGHEST_M = 0.045
"""The highest stand of the task."""
SHIFT_M = 0.015
"""How far the front camera is from its place along each axis, at most."""
TILT_RAD = np.radians(1.5)
"""How far it is turned about each of its axes, at most."""
TRAVEL_M = (0.105, 0.13)
"""Heights of the hand at which it hits no block on a stand."""


class StandsScene(TypedDict):
    """What :meth:`~swiftvla_ros.sim.world.SimWorld.reset` needs for a scene of this task, beside its seed."""

    stands: Array
    front_pose: CameraPose


def sample_stands(contract: Contract, seed: int) -> StandsScene:
    """The stands' heights and the front camera's pose in the scene of ``seed``.

    Raises
    ------
    ValueError
        The contract doesn't tell where the front camera should stand.
    """
    nominal = contract.camera("front").pose
    if nominal is None:
        raise ValueError(f"{contract.path}: cameras: front: pose: missing; the task moves the camera around it")
    rng = np.random.default_rng([seed, 6])
    stands = rng.uniform(0, HIGHEST_M, len(COLORS))
    x, y, z = np.array(nominal.position_m) + rng.uniform(-SHIFT_M, SHIFT_M, 3)
    turn = rng.uniform(-TILT_RAD, TILT_RAD, 3)
    qx, qy, qz, qw = nominal.quaternion_xyzw
    small, turned = np.zeros(4), np.zeros(4)
    mujoco.mju_axisAngle2Quat(small, turn / np.linalg.norm(turn), float(np.linalg.norm(turn)))
    mujoco.mju_mulQuat(turned, np.array([qw, qx, qy, qz]), small)
    qw, qx, qy, qz = (float(value) for value in turned)
    pose = CameraPose(
        position_m=(float(x), float(y), float(z)), quaternion_xyzw=(qx, qy, qz, qw), fovy_deg=nominal.fovy_deg
    )
    return StandsScene(stands=stands, front_pose=pose)
