# SPDX-License-Identifier: Apache-2.0
"""The scene that can't be measured by eye: blocks of many sizes on higher stands, and a camera further out of place.

How large a block looks no longer tells how far away it is, either: that takes a look at it from two places, or depth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.sim.block_layout import HALVES_M
from swiftvla_ros.sim.language import COLORS
from swiftvla_ros.sim.scene import Scene, SceneSetup, front_camera_astray
from swiftvla_ros.sim.world import MAX_STAND_M

SHIFT_M = 0.03
"""How far the front camera is from its place along each axis, at most."""
TILT_RAD = np.radians(3.0)
"""How far it is turned about each of its axes, at most."""


class SizedBlocks(Scene):
    """Blocks of random sizes on stands of random heights, and the front camera out of place."""

    name = "sizes"
    in_bags = False
    hover_m = (0.12, 0.14)

    def sample(self, contract: Contract, seed: int) -> SceneSetup:
        """Sizes, stands and the front camera's pose in the scene of ``seed``; ValueError without a nominal pose."""
        rng = np.random.default_rng([seed, 11])
        shift, turn = rng.uniform(-SHIFT_M, SHIFT_M, 3), rng.uniform(-TILT_RAD, TILT_RAD, 3)
        stands, halves = rng.uniform(0, MAX_STAND_M, len(COLORS)), rng.uniform(*HALVES_M, len(COLORS))
        return SceneSetup(stands, halves, front_camera_astray(contract, shift, turn))

    def metadata(self, setup: SceneSetup) -> dict[str, Any]:
        """The stands' heights and the blocks' sizes."""
        assert setup.stands is not None
        assert setup.halves_m is not None
        return {"stands_m": setup.stands.tolist(), "halves_m": setup.halves_m.tolist()}


SCENE = SizedBlocks()
