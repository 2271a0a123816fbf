# SPDX-License-Identifier: Apache-2.0
"""Where things lie on the table, and how it all looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.sim.language import COLORS

Array = NDArray[np.float64]

BLOCK_HALF_M = 0.015
"""Half the edge of a block."""
HALVES_M = (0.012, 0.020)
"""The least and the most, where scenes have blocks of many sizes: what the jaws take hold of."""
PAN_AXIS_X_M = 0.0388353
"""Where the arm's pan axis stands in the base frame (y = 0)."""
# A ring sector around the pan axis that the hand reaches at its fixed approach angle, with the lift above it.
RING_M = (0.145, 0.25)
SECTOR_RAD = 0.70
SEPARATION_M = 0.075
"""Least distance between two centres: the open hand fits between."""
TWIST_RAD = 0.12
"""Largest rotation of a block against the direction to the arm."""


@dataclass(frozen=True)
class SceneLayout:
    """Where things lie on the table, in m and rad, base frame."""

    # Blocks [3, 2] and [3], in the order of the colours.
    xy: Array
    yaw: Array
    # The scene's other bodies [F, 3]: x, y and yaw, in the scene's order; None: where the scene's seed puts them.
    fixtures: Array | None = None


def sample_spot(rng: np.random.Generator) -> Array:
    """A random point [2] of the workspace, uniform in area."""
    low, high = RING_M
    radius = np.sqrt(rng.uniform(low**2, high**2))
    angle = rng.uniform(-SECTOR_RAD, SECTOR_RAD)
    return np.array([PAN_AXIS_X_M + radius * np.cos(angle), radius * np.sin(angle)])


def sample_layout(rng: np.random.Generator) -> SceneLayout:
    """Random places for the blocks, far enough apart for the open hand."""
    spots: list[Array] = []
    while len(spots) < len(COLORS):
        spot = sample_spot(rng)
        if all(np.hypot(*(spot - other)) >= SEPARATION_M for other in spots):
            spots.append(spot)
        elif rng.random() < 0.02:
            spots.clear()  # two blocks may leave no room for the third
    xy = np.stack(spots)
    towards = np.arctan2(xy[:, 1], xy[:, 0] - PAN_AXIS_X_M)
    return SceneLayout(xy=xy, yaw=towards + rng.uniform(-TWIST_RAD, TWIST_RAD, len(COLORS)))
