# SPDX-License-Identifier: Apache-2.0
"""What the policy sees of the simulated robot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.images import condition_image
from swiftvla_ros.sim.world import SimWorld

RENDER_SIZE = (320, 240)
"""Rendered size (w, h): half the driver's resolution, twice as fast, and the same after the contract's resizing."""


def policy_images(world: SimWorld) -> dict[str, NDArray[np.uint8]]:
    """Every camera of the contract, conditioned by it: name → RGB uint8 [h, w, 3]."""
    return {
        camera.name: condition_image(world.render(camera.name, *RENDER_SIZE), camera)
        for camera in world.contract.cameras
    }
