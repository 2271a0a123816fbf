# SPDX-License-Identifier: Apache-2.0
"""The scene with blocks of many sizes: it can be done, and it leaves other scenes as they are."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.sim.block_layout import HALVES_M
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.scene import SceneSetup
from swiftvla_ros.sim.tasks.registry import watch
from swiftvla_ros.sim.tasks.sized_blocks import SCENE
from swiftvla_ros.sim.tasks.watcher import TaskResult, TaskWatcher
from swiftvla_ros.sim.world import MAX_STAND_M, SimWorld

Perform = Callable[[Task, TaskWatcher], TaskResult]


@pytest.fixture(scope="module")
def world(contract: Contract) -> Iterator[SimWorld]:
    """A world whose scenes are all of this variant."""
    with SimWorld(contract, scene=SCENE) as made:
        yield made


def test_scenes_are_what_they_promise(contract: Contract) -> None:
    """Sizes and heights cover their ranges, say nothing of each other, and come again with their seed."""
    scenes = [SCENE.sample(contract, seed) for seed in range(200)]
    halves = np.stack([scene.halves_m for scene in scenes if scene.halves_m is not None])
    stands = np.stack([scene.stands for scene in scenes if scene.stands is not None])
    assert np.abs(np.array([halves.min(), halves.max()]) - HALVES_M).max() < 1e-4
    assert 0.98 * MAX_STAND_M < stands.max() <= MAX_STAND_M
    assert abs(np.corrcoef(halves.ravel(), stands.ravel())[0, 1]) < 0.1
    again = SCENE.sample(contract, 7)
    assert again.front_pose == scenes[7].front_pose
    np.testing.assert_array_equal(
        np.stack([np.asarray(again.halves_m), np.asarray(again.stands)]), [halves[7], stands[7]]
    )


@pytest.mark.parametrize("verb", ["pick", "touch"])
@pytest.mark.parametrize("half_m", HALVES_M)
def test_the_expert_does_it_with_the_smallest_and_the_largest(
    verb: str, half_m: float, world: SimWorld, perform: Perform
) -> None:
    """A small block is not taken for a miss, and a touch is on the top of either."""
    setup = SceneSetup(stands=np.array([0.0, 0.03, MAX_STAND_M]), halves_m=np.full(3, half_m))
    world.reset(4, setup=setup)
    np.testing.assert_allclose(world.block_positions()[:, 2], world.stands + half_m, atol=1e-6)
    task = Task(verb, COLORS[1])
    assert perform(task, watch(world, task)) is TaskResult.DONE


def test_all_that_follows_from_a_size_follows(contract: Contract) -> None:
    """A block of another size collides as one that was compiled with it: nothing reaches into it unseen."""
    with SimWorld(contract, scene=SCENE) as world:
        world.reset(0, setup=SceneSetup(halves_m=np.full(3, HALVES_M[1])))
        spec = world._spec()
        for color in COLORS:
            spec.geom(color).size[:] = HALVES_M[1]
            spec.body(f"stand_{color}").first_geom().size[:2] = world._model.geom_size[
                world._model.body(f"stand_{color}").geomadr[0], :2
            ]
        fresh, arrays = (
            spec.compile(),
            [name for name in dir(world._model) if name.startswith(("geom_", "body_", "dof_", "bvh_"))],
        )
        # A scene places its stands, and paints.
        own = {"body_pos", "body_quat", "geom_rgba", "body_sameframe"}
        differ = [
            name
            for name in arrays
            if name not in own
            and isinstance(getattr(fresh, name), np.ndarray)
            and not np.allclose(getattr(fresh, name), getattr(world._model, name), atol=1e-12)
        ]
    assert differ == []


@pytest.mark.parametrize("halves", [[0.011, 0.015, 0.015], [0.015, 0.021, 0.015], [np.nan] * 3, [0.015, 0.015]])
def test_a_block_that_no_jaws_hold_is_refused(halves: list[float], contract: Contract) -> None:
    """Sizes are checked as stands are."""
    with SimWorld(contract) as world, pytest.raises(ValueError, match="halves of edges between"):
        world.reset(0, setup=SceneSetup(halves_m=np.array(halves)))


def test_other_scenes_are_as_they_were(contract: Contract) -> None:
    """A world that had small blocks has the usual ones again, which move as in a world that never had others."""
    usual = []
    with SimWorld(contract) as fresh, SimWorld(contract) as used:
        used.reset(1, setup=SceneSetup(halves_m=np.array([0.012, 0.016, 0.02])))
        for world in (fresh, used):
            world.reset(2)
            world.advance(0.5)
            usual.append((world.positions(), world.render("front", 160, 120)))
    np.testing.assert_allclose(usual[0][0], usual[1][0], atol=1e-9)
    np.testing.assert_array_equal(usual[0][1], usual[1][1])
