# SPDX-License-Identifier: Apache-2.0
"""What the simulation's tests share: one contract and one world."""

from collections.abc import Callable, Iterator

import pytest

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.sim.expert.expert import TICK_S, Expert
from swiftvla_ros.sim.language import Task
from swiftvla_ros.sim.tasks.watcher import TaskResult, TaskWatcher
from swiftvla_ros.sim.world import SimWorld


@pytest.fixture(scope="session")
def shared_world(contract: Contract) -> Iterator[SimWorld]:
    """One world for all tests; loading it is what takes the time."""
    with SimWorld(contract) as world:
        yield world


@pytest.fixture
def world(shared_world: SimWorld) -> SimWorld:
    """The world, at the scene of seed 0."""
    shared_world.reset(0)
    return shared_world


@pytest.fixture
def perform(world: SimWorld, contract: Contract) -> Callable[[Task, TaskWatcher], TaskResult]:
    """Let the expert do one task in the world as it is, and return a watcher's verdict (of another task, maybe)."""

    def run(task: Task, watcher: TaskWatcher) -> TaskResult:
        expert = Expert(contract)
        expert.start(task, world.commanded())
        end = world.time_s + 5.0
        while world.time_s < end and watcher.result is TaskResult.PENDING:
            world.command(expert.tick(world))
            world.advance(TICK_S)
            watcher.update(TICK_S)
        return watcher.result

    return run
