# SPDX-License-Identifier: Apache-2.0
"""The scene with blocks on stands: it can be done, it is recorded with its camera, and it leaves flat scenes alone."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.contract.schema import CameraPose
from swiftvla_ros.observation.observation import Observation
from swiftvla_ros.policy.policy import Policy
from swiftvla_ros.sim.block_layout import BLOCK_HALF_M, PAN_AXIS_X_M, RING_M, SECTOR_RAD
from swiftvla_ros.sim.data.collect import Recorder
from swiftvla_ros.sim.evaluation.rollout import Conditions, roll_out
from swiftvla_ros.sim.inverse_kinematics import InverseKinematics
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.observe import policy_images
from swiftvla_ros.sim.tasks.elevated_blocks import HIGHEST_M, SCENE, SHIFT_M, TILT_RAD
from swiftvla_ros.sim.tasks.registry import watch
from swiftvla_ros.sim.tasks.watcher import TaskResult, TaskWatcher
from swiftvla_ros.sim.world import SimWorld

Perform = Callable[[Task, TaskWatcher], TaskResult]
SEED = 3


@pytest.fixture(scope="module")
def world(contract: Contract) -> Iterator[SimWorld]:
    """A world whose scenes are all of this variant."""
    with SimWorld(contract, scene=SCENE) as made:
        yield made


def test_scenes_are_what_they_promise(contract: Contract) -> None:
    """Heights and camera poses stay within the stated ranges, differ between scenes, and come again with their seed."""
    scenes = [SCENE.sample(contract, seed) for seed in range(40)]
    nominal = contract.camera("front").pose
    assert nominal is not None
    heights = np.stack([scene.stands for scene in scenes if scene.stands is not None])
    assert heights.min() >= 0
    assert 0.9 * HIGHEST_M < heights.max() <= HIGHEST_M
    poses = [scene.front_pose for scene in scenes if scene.front_pose is not None]
    shifts = np.array([pose.position_m for pose in poses]) - nominal.position_m
    assert 0.9 * SHIFT_M < np.abs(shifts).max() <= SHIFT_M
    aligned = np.array([pose.quaternion_xyzw for pose in poses]) @ np.array(nominal.quaternion_xyzw)
    tilts = 2 * np.arccos(np.clip(np.abs(aligned), 0, 1) / np.linalg.norm(nominal.quaternion_xyzw))
    assert 0.9 * TILT_RAD < tilts.max() <= TILT_RAD * np.sqrt(3) + 1e-6
    again = SCENE.sample(contract, 7)
    assert again.front_pose == scenes[7].front_pose
    assert again.stands is not None
    np.testing.assert_array_equal(again.stands, heights[7])


def test_the_hand_reaches_every_height_of_the_task(contract: Contract) -> None:
    """No scene is impossible: blocks on any stand anywhere can be grasped, and travelled over."""
    kinematics = InverseKinematics(contract)
    for radius in RING_M:
        for angle in (-SECTOR_RAD, 0.0, SECTOR_RAD):
            spot = [PAN_AXIS_X_M + radius * np.cos(angle), radius * np.sin(angle)]
            for height in (BLOCK_HALF_M, HIGHEST_M + BLOCK_HALF_M, 0.12, *SCENE.hover_m):
                joints = np.append(kinematics.solve(np.array([*spot, height])), 0.0)
                np.testing.assert_allclose(contract.end_effector_position(joints), [*spot, height], atol=1e-4)


@pytest.mark.parametrize(("verb", "seed"), [("pick", 0), ("touch", 1), ("pick", 2)])
def test_the_expert_does_it_at_the_blocks_own_height(verb: str, seed: int, world: SimWorld, perform: Perform) -> None:
    """Demonstrations of the task show success, and other blocks stay on their stands."""
    world.reset(seed)
    before = world.block_positions()
    np.testing.assert_allclose(before[:, 2], world.stands + BLOCK_HALF_M, atol=1e-6)
    asked = int(world.stands.argmin() if seed else world.stands.argmax())
    task = Task(verb, COLORS[asked])
    assert perform(task, watch(world, task)) is TaskResult.DONE
    others = np.arange(len(COLORS)) != asked
    np.testing.assert_allclose(world.block_positions()[others], before[others], atol=0.01)


class Falling:
    """A world whose green block is 3 cm lower from the second look on, as when it fell off its stand."""

    def __init__(self, world: SimWorld) -> None:
        self._world, self._looks = world, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._world, name)

    def block_positions(self) -> NDArray[np.float64]:
        self._looks += 1
        return self._world.block_positions() - [[0, 0, 0], [0, 0, 0.03 * (self._looks > 1)], [0, 0, 0]]


def test_a_block_that_falls_off_its_stand_is_the_wrong_block(world: SimWorld) -> None:
    """A hand that clears the way by force hasn't done what it was told."""
    watcher = watch(Falling(world), Task("pick", "red"))  # type: ignore[arg-type]
    assert watcher.update(0.02) is TaskResult.WRONG_BLOCK


def test_projection_follows_the_moved_camera(world: SimWorld) -> None:
    """Keypoint labels of an episode are made with its camera: a block's blob must lie where that one projects it."""
    for seed in range(4):
        world.reset(seed)
        image = policy_images(world)["front"].astype(float)
        height, width = image.shape[:2]
        uv = world.contract.project("front", world.block_positions())
        for channel, (u, v) in enumerate(uv):
            others = np.delete(image, channel, axis=2).max(axis=2)
            rows, columns = np.nonzero(image[..., channel] > 1.6 * others + 20)
            assert abs(columns.mean() + 0.5 - u * width) < 1.3
            assert abs(rows.mean() + 0.5 - v * height) < 1.3
        unmoved = world.nominal_contract.project("front", world.block_positions())
        assert np.abs(unmoved - uv).max() * width > 1.0, "the camera did move"


def test_flat_scenes_stay_as_they_were(shared_world: SimWorld) -> None:
    """A scene without stands is the same picture and the same contract, whatever was shown before."""
    world = shared_world
    world.reset(0)
    before, contract = policy_images(world), world.contract
    world.reset(SEED, setup=SCENE.sample(world.nominal_contract, SEED))
    assert world.contract != contract
    world.reset(0)
    assert world.contract is contract is world.nominal_contract
    assert not world.stands.any()
    for name, image in policy_images(world).items():
        np.testing.assert_array_equal(image, before[name])


def test_a_recorded_episode_tells_its_stands_and_its_camera(contract: Contract) -> None:
    """What the labels are computed from is in the file: heights, and the pose that projects the block to its label."""
    recorder = Recorder(contract, scene=SCENE)
    try:
        episode = recorder.record(Task("touch", "blue"), SEED, np.random.default_rng(1))
    finally:
        recorder.close()
    assert episode is not None
    expected = SCENE.sample(contract, SEED)
    assert expected.stands is not None
    np.testing.assert_allclose(episode.metadata["stands_m"], expected.stands)
    pose = CameraPose(**episode.metadata["front_pose"])
    assert pose == expected.front_pose
    blue = np.array(episode.metadata["block_positions"][COLORS.index("blue")])
    seen = contract.with_camera_pose("front", pose).project("front", blue)
    np.testing.assert_allclose(episode.metadata["target_uv"], seen, atol=1e-6)


class Still(Policy):
    """A policy that stays where it is."""

    step_s = 0.1

    def infer(self, observation: Observation, **_: object) -> NDArray[np.float64]:
        return np.tile(observation.state, (10, 1))


def test_rollouts_in_one_world_dont_let_the_camera_drift(world: SimWorld) -> None:
    """Every scene's camera is moved from its place in the contract, not from where the scene before had it."""
    for seed in (1, 2):
        roll_out(Still(), world, Task("pick", "red"), seed, Conditions(0.05, timeout_s=0.1))
        assert world.contract.camera("front").pose == SCENE.sample(world.nominal_contract, seed).front_pose
