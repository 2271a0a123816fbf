# SPDX-License-Identifier: Apache-2.0
"""The scenes that an evaluation begins with, for tests that look at them."""

from collections.abc import Iterator

import numpy as np

from swiftvla_ros.contract import Contract
from swiftvla_ros.sim.evaluation.first_step import FirstScene, first_scene, task_of_episode
from swiftvla_ros.sim.world import SimWorld


def first_scenes(contract: Contract, count: int, seed: int) -> Iterator[FirstScene]:
    """The scenes that an evaluation with this seed begins with."""
    with SimWorld(contract) as world:
        for index in range(count):
            world.reset(seed + index)
            yield first_scene(world, task_of_episode(index), np.random.default_rng([seed + index, 4]))
