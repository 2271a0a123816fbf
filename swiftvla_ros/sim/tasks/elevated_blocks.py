# SPDX-License-Identifier: Apache-2.0
"""The scene in which depth matters: blocks on stands of many heights, seen by a camera that is never quite in place.

Where a block is in the picture no longer tells how far away and how high it is: that takes its size, both cameras, or
the view's motion.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.contract.schema import CameraPose
from swiftvla_ros.sim.backend import mujoco
from swiftvla_ros.sim.language import COLORS
from swiftvla_ros.sim.scene import Scene, SceneSetup

HIGHEST_M = 0.045
"""The highest stand of these scenes."""
SHIFT_M = 0.015
"""How far the front camera is from its place along each axis, at most."""
TILT_RAD = np.radians(1.5)
"""How far it is turned about each of its axes, at most."""


class ElevatedBlocks(Scene):
    """Blocks on stands of random heights, and the front camera a little out of place."""

    name = "stands"
    hover_m = (0.105, 0.13)

    def sample(self, contract: Contract, seed: int) -> SceneSetup:
        """The stands' heights and the front camera's pose in the scene of ``seed``.

        Raises
        ------
        ValueError
            The contract doesn't tell where the front camera should stand.
        """
        nominal = contract.camera("front").pose
        if nominal is None:
            raise ValueError(f"{contract.path}: cameras: front: pose: missing; the scene moves the camera around it")
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
        return SceneSetup(stands=stands, front_pose=pose)

    def metadata(self, setup: SceneSetup) -> dict[str, Any]:
        """Camera and heights: labels are computed from them."""
        assert setup.front_pose is not None
        assert setup.stands is not None
        return {"front_pose": setup.front_pose.model_dump(mode="json"), "stands_m": setup.stands.tolist()}


SCENE = ElevatedBlocks()
