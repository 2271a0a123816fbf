# SPDX-License-Identifier: Apache-2.0
"""Draw ``docs/images/varied_scenes.png``: scenes of ``swiftvla collect --varied``, as the front camera sees them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from swiftvla_ros.contract import load_contract
from swiftvla_ros.sim.tasks.place import SCENE
from swiftvla_ros.sim.varied_world import VariedWorld

IMAGE = Path(__file__).parents[1] / "images" / "varied_scenes.png"
ROWS, COLUMNS, SEED = 2, 4, 500
_SIZE = (240, 180)


def main() -> None:
    """Render one scene a tile."""
    with VariedWorld(load_contract("so101_sim"), scene=SCENE) as world:
        tiles = []
        for seed in range(SEED, SEED + ROWS * COLUMNS):
            world.reset(seed)
            tiles.append(world.render("front", *_SIZE))
    picture = np.vstack([np.hstack(tiles[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)])
    cv2.imwrite(str(IMAGE), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
