# SPDX-License-Identifier: Apache-2.0
"""The simulated cameras are the cameras of the contract."""

import numpy as np

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.contract.images import condition_image
from swiftvla_ros.sim.language import COLORS
from swiftvla_ros.sim.observe import policy_images
from swiftvla_ros.sim.world import SimWorld


def test_projection_is_where_the_picture_shows_it(world: SimWorld, contract: Contract) -> None:
    """Grounding labels are projections: a block's blob must lie there, to a pixel of the policy's image."""
    for seed in range(6):
        world.reset(seed)
        image = policy_images(world)["front"].astype(float)
        height, width = image.shape[:2]
        uv = contract.project("front", world.block_positions())
        for channel, (u, v) in enumerate(uv):
            others = np.delete(image, channel, axis=2).max(axis=2)
            rows, columns = np.nonzero(image[..., channel] > 1.6 * others + 20)
            assert len(rows) > 20, f"no {COLORS[channel]} block to be seen"
            assert abs(columns.mean() + 0.5 - u * width) < 1.0
            assert abs(rows.mean() + 0.5 - v * height) < 1.0


def test_blocks_are_large_enough_to_be_seen(world: SimWorld) -> None:
    """A block spans at least seven pixels of the policy's image."""
    world.reset(3)
    image = policy_images(world)["front"].astype(float)
    for channel in range(3):
        others = np.delete(image, channel, axis=2).max(axis=2)
        columns = np.nonzero(image[..., channel] > 1.6 * others + 20)[1]
        assert np.ptp(columns) + 1 >= 7


def test_half_size_rendering_looks_the_same_to_the_policy(world: SimWorld, contract: Contract) -> None:
    """Training renders at half the driver's resolution; after conditioning that must not be a different picture."""
    for camera in contract.cameras:
        full = condition_image(world.render(camera.name, *camera.source_size), camera).astype(float)
        half = policy_images(world)[camera.name].astype(float)
        assert full.shape == half.shape == (camera.size[1], camera.size[0], 3)
        assert np.abs(full - half).mean() < 3.0


def test_wrist_camera_moves_with_the_hand(world: SimWorld, contract: Contract) -> None:
    """The wrist camera sees another part of the table when the arm turns, the front camera the same."""
    wrist = world.render("wrist").astype(float)
    arm = contract.rest.copy()
    arm[0] += 0.6
    world.reset(0, arm=arm)
    assert np.abs(world.render("wrist").astype(float) - wrist).mean() > 5.0
