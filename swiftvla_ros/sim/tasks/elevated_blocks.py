# SPDX-License-Identifier: Apache-2.0
"""The scene in which depth matters: blocks on stands of many heights, seen by a camera that is never quite in place.

Where a block is in the picture no longer tells how far away and how high it is: that takes its size, both cameras, or
the view's motion.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.sim.language import COLORS
from swiftvla_ros.sim.scene import Scene, SceneSetup, front_camera_astray

HIGHEST_M = 0.045
"""The highest stand of these scenes."""
SHIFT_M = 0.015
"""How far the front camera is from its place along each axis, at most."""
TILT_RAD = np.radians(1.5)
"""How far it is turned about each of its axes, at most."""


class ElevatedBlocks(Scene):
    """Blocks on stands of random heights, and the front camera a little out of place."""

    name = "stands"
    in_bags = False
    hover_m = (0.105, 0.13)

    def sample(self, contract: Contract, seed: int) -> SceneSetup:
        """The stands' heights and the front camera's pose in the scene of ``seed``.

        Raises
        ------
        ValueError
            The contract doesn't tell where the front camera should stand.
        """
        rng = np.random.default_rng([seed, 6])
        stands = rng.uniform(0, HIGHEST_M, len(COLORS))
        shift = rng.uniform(-SHIFT_M, SHIFT_M, 3)
        pose = front_camera_astray(contract, shift, rng.uniform(-TILT_RAD, TILT_RAD, 3))
        return SceneSetup(stands=stands, front_pose=pose)

    def metadata(self, setup: SceneSetup) -> dict[str, Any]:
        """The stands' heights."""
        assert setup.stands is not None
        return {"stands_m": setup.stands.tolist()}


SCENE = ElevatedBlocks()
