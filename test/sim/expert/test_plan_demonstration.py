# SPDX-License-Identifier: Apache-2.0
"""The demonstrator's planner: a motion that does the task, or the reason why there is none."""

from collections.abc import Iterator

import numpy as np
import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.sim.block_layout import SceneLayout, sample_layout
from swiftvla_ros.sim.expert.expert import TICK_S
from swiftvla_ros.sim.expert.plan_demonstration import DemonstrationError, DemonstrationPlanner
from swiftvla_ros.sim.language import Task
from swiftvla_ros.sim.tasks.registry import watch
from swiftvla_ros.sim.tasks.watcher import TaskResult
from swiftvla_ros.sim.world import SimWorld


@pytest.fixture(scope="module")
def planner(contract: Contract) -> Iterator[DemonstrationPlanner]:
    """Build a simulation to plan in."""
    made = DemonstrationPlanner(contract)
    yield made
    made.close()


@pytest.mark.parametrize("task", [Task("pick", "blue"), Task("touch", "red")])
def test_what_was_planned_does_the_task(planner: DemonstrationPlanner, contract: Contract, task: Task) -> None:
    """Protects demonstrations: played in another simulation, step by step, the motion carries the task out."""
    with SimWorld(contract, 3) as world:
        motion = planner.plan(task, world.layout_now(), world.commanded())
        watcher = watch(world, task)
        np.testing.assert_allclose(motion.positions[0], world.commanded())
        for tick in range(len(motion.positions)):
            world.command(motion.at(np.array([tick * TICK_S]))[0])
            world.advance(TICK_S)
            watcher.update(TICK_S)
        assert watcher.result is TaskResult.DONE
        speed = np.abs(np.diff(motion.positions, axis=0)) / TICK_S
        assert (speed <= contract.limits.max_velocity).all()


def test_the_layout_of_a_running_world_is_the_one_it_was_given(contract: Contract) -> None:
    """Protects the planner's scene: places and turns of the blocks are read back as they were set."""
    layout = sample_layout(np.random.default_rng(5))
    with SimWorld(contract) as world:
        world.reset(0, layout=layout)
        seen = world.layout_now()
    np.testing.assert_allclose(seen.xy, layout.xy)
    np.testing.assert_allclose(np.cos(seen.yaw - layout.yaw), 1)


def test_what_it_can_not_do_is_refused(planner: DemonstrationPlanner, contract: Contract) -> None:
    """Protects recordings: a block out of reach is no demonstration, and the reason is told."""
    far = SceneLayout(np.array([[2.0, 0.0], [0.25, 0.1], [0.25, -0.1]]), np.zeros(3))
    with pytest.raises(DemonstrationError, match="out of reach"):
        planner.plan(Task("pick", "red"), far, contract.rest)
