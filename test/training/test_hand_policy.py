# SPDX-License-Identifier: Apache-2.0
"""A policy that moves a hand is trained, opened and asked: eight numbers of state in, rows of seven out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swiftvla_ros.contract import CameraPose, Contract, load_contract
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.datasets.store import Episode, load_episode, save_episode
from swiftvla_ros.model.config import swiftvla_nano
from swiftvla_ros.policy import CheckpointError, Observation, load_policy
from swiftvla_ros.policy.checkpoint import check_against_contract, open_checkpoint
from swiftvla_ros.resources import model_path
from swiftvla_ros.sim.libero.drivers import REPLAN_STEPS, BlindReplay, PolicyHand
from swiftvla_ros.sim.libero.process import SceneMoment, View
from swiftvla_ros.training.importers.lerobot_policy import export_policy
from swiftvla_ros.training.loop import TrainingRun
from swiftvla_ros.training.options import TrainOptions
from swiftvla_ros.training.samples import EpisodeSamples, label_episode
from swiftvla_ros.training.stages import PolicyStart, train_policy

# Looks along x, from the left of which y is.
POSE = CameraPose(position_m=(-1, 0, 0), quaternion_xyzw=(-0.5, 0.5, -0.5, 0.5), fovy_deg=45.0, mirrored=True)
GROUNDING = model_path("models/swiftvla-nano-grounding")


@pytest.fixture(scope="module")
def contract() -> Contract:
    """The benchmark's robot."""
    return load_contract("libero_panda")


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Path:
    """Demonstrations of nothing, of the right form."""
    folder, rng = tmp_path_factory.mktemp("episodes"), np.random.default_rng(0)
    for number in range(3):
        episode = Episode(
            instruction="pick the milk and place it in the basket",
            images={name: rng.integers(0, 255, (12, 96, 96, 3), dtype=np.uint8) for name in contract.camera_names},
            state=rng.normal(scale=0.1, size=(12, 8)).astype(np.float32),
            action=rng.uniform(-1, 1, (12, 7)).astype(np.float32),
            expert=np.ones(12, bool),
            stamps_s=np.arange(12) * 0.05,
            metadata={"front_pose": POSE.model_dump(mode="json")},
        )
        save_episode(folder / f"episode_{number:06d}.safetensors", episode, contract)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, episodes: Path, contract: Contract) -> Path:
    """A checkpoint after one step."""
    options = TrainOptions(
        steps=1, batch=2, scene_share=0.0, validate_every=1, warmup_steps=1, noise_samples=1, precision="no"
    )
    run = TrainingRun(tmp_path_factory.mktemp("run") / "out", None, contract, options, processes=1, device="cpu")
    train_policy(run, PolicyStart(episodes, GROUNDING, preset="swiftvla-nano"), lambda _: None)
    return run.out


def moment(number: int = 0) -> SceneMoment:
    """Something to look at."""
    picture = np.full((128, 128, 3), number, np.uint8)
    return SceneMoment(False, np.zeros(8), np.eye(3), {}, {"agent": View(picture), "wrist": View(picture)})


def test_it_is_trained_opened_and_asked(trained: Path, contract: Contract) -> None:
    """Protects the whole way: state and rows keep their own widths in statistics, checkpoint and chunk."""
    opened = open_checkpoint(trained)
    check_against_contract(opened, contract)
    assert (len(opened.state.mean), len(opened.action.mean)) == (8, 7)
    assert opened.action_names == contract.action_names
    policy = load_policy(trained, contract=contract, threads=1)
    policy.warm_up()
    images = {name: np.zeros((96, 96, 3), np.uint8) for name in contract.camera_names}
    chunk = policy.infer(Observation(images, contract.rest, "pick the milk"))
    assert chunk.shape == (10, 7)
    assert np.isfinite(chunk).all()


def test_it_is_no_policy_for_joints(trained: Path, tmp_path: Path) -> None:
    """Protects arms: a checkpoint that moves a hand is refused for one with joints, and in a form of joints alone."""
    with pytest.raises(CheckpointError, match="moves a hand by Cartesian steps"):
        export_policy(trained, tmp_path / "theirs")
    with pytest.raises(CheckpointError, match="was trained for joints"):
        check_against_contract(open_checkpoint(trained), load_contract("so101_sim"))


def test_a_start_without_room_says_what_to_write(tmp_path: Path, episodes: Path, contract: Contract) -> None:
    """Protects whoever begins: the grounding checkpoint has room for six joints, and the way on is named."""
    run = TrainingRun(tmp_path / "out", None, contract, TrainOptions(steps=1, batch=2, scene_share=0.0), 1, "cpu")
    with pytest.raises(CheckpointError, match="write --preset swiftvla-nano"):
        train_policy(run, PolicyStart(episodes, GROUNDING), lambda _: None)


def test_columns_that_the_network_has_no_room_for_are_refused(trained: Path, tmp_path: Path) -> None:
    """Protects from rows cut short: a checkpoint that names more columns than its network has is refused."""
    for path in trained.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["action_names"] = [*config["action_names"], "more"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="has room for"):
        open_checkpoint(tmp_path)


def test_the_goal_is_where_the_hand_goes_lowest(episodes: Path, contract: Contract) -> None:
    """Protects the labels that make a network listen: a hand's places in the picture, by the episode's own camera."""
    episode = load_episode(episodes / "episode_000000.safetensors", contract)
    labels, _ = label_episode(episode, contract, swiftvla_nano(joints=8))
    assert labels.keypoint_valid.all()
    lowest = int(np.argmin(episode.state[:, 2]))
    seen = contract.with_camera_pose("agent", POSE).project("agent", episode.state[:, :3].astype(float))
    np.testing.assert_allclose(labels.keypoint_uv[0, 0], seen[lowest], atol=1e-6)
    np.testing.assert_allclose(labels.keypoint_uv[0, 1], seen[2], atol=1e-6)
    assert seen[int(np.argmax(episode.state[:, 1])), 0] > 0.5, "mirrored: what is on the left is seen on the right"
    bare = replace(episode, metadata={})
    assert not label_episode(bare, contract, swiftvla_nano(joints=8))[0].keypoint_valid.any()


def test_steps_without_a_picture_teach_rows_alone(episodes: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects from pictures of another step: only pictured ones are samples, with the rows of all in their chunks."""
    whole = load_episode(episodes / "episode_000000.safetensors", contract)
    some = replace(whole, metadata={**whole.metadata, "pictures": [0, 1, 4, 8]})
    for number, each in enumerate((whole, some)):
        save_episode(tmp_path / f"episode_{number:06d}.safetensors", each, contract)
    samples = EpisodeSamples(
        open_episodes(tmp_path, contract, []), contract, swiftvla_nano(joints=8), lambda _: np.zeros(1, np.int64)
    )
    np.testing.assert_array_equal(samples.frames, [*range(12), 12, 13, 16, 20])
    np.testing.assert_array_equal(samples.early_frames, [0, 1, 2, 12, 13])
    np.testing.assert_array_equal(samples.labels(np.array([16])).actions, samples.labels(np.array([4])).actions)


def test_a_policy_looks_again_after_a_few_rows(trained: Path, contract: Contract) -> None:
    """Protects the protocol: a new chunk every few steps, its rows in order, the same ones for the same seed."""
    policy = load_policy(trained, contract=contract, threads=1)
    hand, again = (PolicyHand(policy, contract, "pick the milk", seed=3) for _ in range(2))
    assert [step for step in range(12) if hand.looks(step)] == [0, REPLAN_STEPS, 2 * REPLAN_STEPS]
    views = moment(80)
    actions = [hand.act(step, views if hand.looks(step) else SceneMoment(False, views.state, views.hand, {}, {}))
               for step in range(7)]  # fmt: skip
    observation = Observation(
        {n: np.full((96, 96, 3), 80, np.uint8) for n in ("agent", "wrist")}, views.state, "pick the milk"
    )
    chunk = policy.infer(observation, noise=policy.sample_noise(3))
    np.testing.assert_array_equal(actions[:REPLAN_STEPS], chunk[:REPLAN_STEPS])
    np.testing.assert_array_equal([again.act(step, views) for step in range(3)], actions[:3])


def test_a_replay_is_blind() -> None:
    """Protects the floor: the demonstration's actions whatever is there, and then the hand rests as it is."""
    shown = np.random.default_rng(0).uniform(-1, 1, (4, 7))
    replay = BlindReplay(shown)
    assert not any(replay.looks(step) for step in range(9))
    np.testing.assert_array_equal([replay.act(step, moment(step)) for step in range(4)], shown)
    np.testing.assert_array_equal(replay.act(9, moment()), [0, 0, 0, 0, 0, 0, shown[-1, 6]])
