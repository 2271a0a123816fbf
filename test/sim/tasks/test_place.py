# SPDX-License-Identifier: Apache-2.0
"""The task with a plate and a bowl: it can be done, it is judged by where the block lies, and its scene is found."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.sim.data.collect import Recorder
from swiftvla_ros.sim.expert.plan_demonstration import DemonstrationPlanner
from swiftvla_ros.sim.language import Task
from swiftvla_ros.sim.scene import TABLE
from swiftvla_ros.sim.tasks.place import SCENE
from swiftvla_ros.sim.tasks.registry import UnknownTaskError, parse, scene_for, tasks_of, watch
from swiftvla_ros.sim.tasks.watcher import TaskResult, TaskWatcher
from swiftvla_ros.sim.world import SimWorld

Perform = Callable[[Task, TaskWatcher], TaskResult]
TASKS = tasks_of(("place",))


@pytest.fixture(scope="module")
def world(contract: Contract) -> Iterator[SimWorld]:
    """A world with plate and bowl."""
    with SimWorld(contract, scene=SCENE) as made:
        yield made


def test_the_expert_does_it_in_nearly_every_scene(world: SimWorld, contract: Contract) -> None:
    """Demonstrations show success: every colour, both dishes, at least nine of ten scenes."""
    planner = DemonstrationPlanner(contract, SCENE)
    failed = []
    for seed in range(10):
        world.reset(seed)
        try:
            planner.plan(TASKS[seed % len(TASKS)], world.layout_now(), world.commanded())
        except RuntimeError as error:
            failed.append(f"scene {seed}: {error}")
    planner.close()
    assert len(failed) <= 1, failed


def test_blocks_lie_where_they_lie_without_dishes(world: SimWorld, contract: Contract) -> None:
    """The scene adds to the plain table and moves nothing of it."""
    world.reset(4)
    with SimWorld(contract, 4) as plain:
        np.testing.assert_array_equal(plain.layout.xy, world.layout.xy)
    assert np.hypot(*(world.layout.xy[:, None] - world.fixtures[None, :, :2]).transpose(2, 0, 1)).min() > 0.1


def test_another_block_is_the_wrong_one(world: SimWorld, perform: Perform) -> None:
    """The right dish does not excuse the wrong block."""
    world.reset(5)
    told, asked = Task("place", "red", "plate"), Task("place", "blue", "plate")
    assert perform(told, watch(world, asked)) is TaskResult.WRONG_BLOCK


def put(world: SimWorld, xy: list[float], height_m: float) -> TaskResult:
    """Watch the red block, that is asked for on the plate, fall from above a place."""
    world.reset(6)
    watcher = watch(world, Task("place", "red", "plate"))
    address = world._block_qpos[0]
    world._data.qpos[address : address + 3] = [*xy, height_m]
    for _ in range(40):
        world.advance(0.02)
        watcher.update(0.02)
    return watcher.result


def test_a_block_beside_the_plate_is_not_on_it(world: SimWorld) -> None:
    """Dropped on the plate it is done; dropped beside it, or into the bowl, it is not."""
    world.reset(6)
    plate, bowl = world.fixtures[:, :2]
    assert put(world, list(plate), 0.04) is TaskResult.DONE
    assert put(world, [plate[0] + 0.09, plate[1]], 0.04) is TaskResult.PENDING
    assert put(world, list(bowl), 0.05) is TaskResult.PENDING


def test_its_scene_is_found_and_no_other_will_do(contract: Contract) -> None:
    """Asking for the task is enough; a simulator without dishes knows no such task."""
    assert scene_for(("place", "pick")) is SCENE
    with pytest.raises(UnknownTaskError, match="stands and tableware"):
        scene_for(("place",), "stands")
    assert parse("put the red block on the plate", SCENE) == Task("place", "red", "plate")
    assert parse("put the red block on the plate", TABLE) is None
    recorder = Recorder(contract, tasks=TASKS, scene=SCENE)
    episode = recorder.record(TASKS[3], 3, np.random.default_rng(0))
    recorder.close()
    assert episode is not None
    assert episode.metadata["where"] == "bowl"
    assert set(episode.metadata["fixtures"]) == {"plate", "bowl"}
