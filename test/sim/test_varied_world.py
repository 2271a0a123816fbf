# SPDX-License-Identifier: Apache-2.0
"""Scenes that don't look alike: the task in them stays the same, and so do labels."""

from collections.abc import Iterator

import numpy as np
import pytest

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.contract.schema import CameraPose
from swiftvla_ros.sim.data.collect import Recorder
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.observe import policy_images
from swiftvla_ros.sim.tasks.place import SCENE
from swiftvla_ros.sim.varied_world import SHIFT_M, TURN_RAD, VariedWorld
from swiftvla_ros.sim.world import SimWorld

SEED = 5


@pytest.fixture(scope="module")
def varied(contract: Contract) -> Iterator[VariedWorld]:
    """One with a plate and a bowl."""
    with VariedWorld(contract, scene=SCENE) as made:
        yield made


def test_a_seed_is_a_scene_whatever_was_before(varied: VariedWorld) -> None:
    """Protects paired evaluations, and collections that parts of a cluster share: to the last pixel."""
    varied.reset(SEED)
    first = policy_images(varied)
    others = []
    for other in (SEED + 1, SEED + 2, SEED):
        varied.reset(other)
        others.append(policy_images(varied))
    for name, image in first.items():
        np.testing.assert_array_equal(others[-1][name], image)
        assert np.abs(others[0][name].astype(int) - image).mean() > 10


def test_the_same_things_lie_in_the_same_places_as_in_plain_scenes(contract: Contract, varied: VariedWorld) -> None:
    """Protects the task: blocks and dishes lie where the plain scene has them, and colours are what words call them."""
    with SimWorld(contract, scene=SCENE) as plain:
        for seed in range(3):
            plain.reset(seed)
            varied.reset(seed)
            np.testing.assert_array_equal(varied.block_positions(), plain.block_positions())
            np.testing.assert_array_equal(varied.fixtures, plain.fixtures)
            hues = np.stack([varied._model.geom(color).rgba[:3] for color in COLORS])
            np.testing.assert_array_equal(hues.argmax(axis=1), range(len(COLORS)))
            assert (np.sort(hues)[:, -1] > 2 * np.sort(hues)[:, -2]).all()


def test_the_camera_stays_near_its_place_and_is_told(contract: Contract, varied: VariedWorld) -> None:
    """Protects labels: the world's contract projects as its camera sees, which is at most a little out of place."""
    nominal = contract.camera("front").pose
    assert nominal is not None
    shifts, turns = [], []
    for seed in range(40):
        varied.reset(seed)
        pose = varied.contract.camera("front").pose
        assert pose is not None
        shifts.append(np.array(pose.position_m) - nominal.position_m)
        aligned = abs(np.dot(pose.quaternion_xyzw, nominal.quaternion_xyzw))
        turns.append(2 * np.arccos(min(1.0, aligned / np.linalg.norm(nominal.quaternion_xyzw))))
    assert 0.9 * SHIFT_M < np.abs(shifts).max() <= SHIFT_M
    assert 0.9 * TURN_RAD < max(turns) <= TURN_RAD * np.sqrt(3) + 1e-6
    np.testing.assert_allclose(varied.camera_pose("front")[:3, 3], np.add(shifts[-1], nominal.position_m))


def test_a_recorded_episode_tells_its_camera(contract: Contract) -> None:
    """Protects training on varied scenes: keypoints are computed from the pose in the file."""
    recorder = Recorder(contract, varied=True)
    try:
        episode = recorder.record(Task("touch", "green"), SEED, np.random.default_rng(1))
    finally:
        recorder.close()
    assert episode is not None
    pose = CameraPose(**episode.metadata["front_pose"])
    assert pose != contract.camera("front").pose
    block = np.array(episode.metadata["block_positions"][COLORS.index("green")])
    seen = contract.with_camera_pose("front", pose).project("front", block)
    np.testing.assert_allclose(episode.metadata["target_uv"], seen, atol=1e-6)
