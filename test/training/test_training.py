# SPDX-License-Identifier: Apache-2.0
"""Training: what is learned from, what is not, and that a killed run goes on as if nothing had happened."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from swiftvla_ros.contract import ActionCoding, CameraPose, Contract
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.datasets.store import EpisodeError, list_files, load_episode, save_episode
from swiftvla_ros.model.config import SwiftVLAConfig, swiftvla_nano
from swiftvla_ros.policy import CheckpointError, load_policy
from swiftvla_ros.policy.tokenizer import InstructionTokenizer
from swiftvla_ros.training.checkpoint_writer import load_start
from swiftvla_ros.training.listening_metrics import listening
from swiftvla_ros.training.loop import TrainingRun
from swiftvla_ros.training.options import TrainOptions
from swiftvla_ros.training.report import Report
from swiftvla_ros.training.samples import EpisodeSamples, SceneSamples
from swiftvla_ros.training.stages import PolicyStart, pretrain_grounding, train_policy
from swiftvla_ros.training.trainer import build

FULL = Path(__file__).parents[2] / "models" / "smollm2-tokenizer" / "tokenizer.json"
TOKENIZER = InstructionTokenizer(FULL, 96)


def tokenize(text: str) -> np.ndarray:
    """Return token ids of the whole tokenizer, below the small network's size."""
    return np.minimum(TOKENIZER(text), 6143)


def test_chunks_are_the_commands_that_followed(recorded: Path, contract: Contract) -> None:
    """Protects the time pairing: row i is the command i steps after the observation, relative to its state."""
    handles = open_episodes(recorded / "episodes", contract)[:1]
    episode = handles[0].load()
    samples = EpisodeSamples(handles, contract, swiftvla_nano(), tokenize)
    for k in (0, 3, len(episode.state) - 1):
        for i in (0, 1, 9):
            expected = episode.action[min(k + i, len(episode.state) - 1)] - episode.state[k]
            np.testing.assert_allclose(samples.labels(np.array([k])).actions[0, i], expected, atol=1e-6)


def test_disturbances_are_not_imitated(recorded: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects against learning bumps: frames of a disturbance are no samples, and rows after it don't count."""
    episode = load_episode(list_files(recorded / "episodes", "episode")[0], contract)
    expert = np.ones(len(episode.expert), bool)
    expert[6:9] = False
    save_episode(tmp_path / "episode_0.safetensors", dataclasses.replace(episode, expert=expert), contract)
    samples = EpisodeSamples(open_episodes(tmp_path, contract), contract, swiftvla_nano(), tokenize)
    assert not set(samples.frames) & {6, 7, 8}
    rows = samples.labels(np.array([2, 9])).row_valid
    assert rows[0].tolist() == [True] * 4 + [False] * 6
    assert rows[1].all()
    # Before the first motion and after the disturbance: there the word alone tells where to go.
    assert set(samples.early_frames) == {0, 1, 2, 9, 10, 11}


def test_the_goal_keypoint_is_on_the_block(recorded: Path, contract: Contract) -> None:
    """Protects the labels that make the network listen: forward kinematics puts the goal at the meant block."""
    for handle in open_episodes(recorded / "episodes", contract):
        episode = handle.load()
        labels = EpisodeSamples([handle], contract, swiftvla_nano(), tokenize).labels(np.array([0]))
        distance = np.linalg.norm(labels.keypoint_uv[0, 0] - np.array(episode.metadata["target_uv"]))
        assert labels.keypoint_valid[0, 0]
        # To touch, the closed jaw's tip beside the tool centre point is what meets the block.
        assert distance < (0.09 if episode.metadata["verb"] == "pick" else 0.14), handle.name


def test_keypoints_follow_a_front_camera_that_moved(recorded: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects the labels of episodes whose front camera stood elsewhere: they are projected where it stood."""
    episode = load_episode(list_files(recorded / "episodes", "episode")[0], contract)
    pose = contract.camera("front").pose
    assert pose is not None
    moved = CameraPose(**{**pose.model_dump(), "fovy_deg": pose.fovy_deg * 1.2})
    metadata = {**episode.metadata, "front_pose": moved.model_dump()}
    save_episode(tmp_path / "episode_0.safetensors", dataclasses.replace(episode, metadata=metadata), contract)
    (handle,) = open_episodes(tmp_path, contract)
    labels = EpisodeSamples([handle], contract, swiftvla_nano(), tokenize).labels(np.array([0]))
    tip = contract.end_effector_position(episode.action[2:3].astype(np.float64))
    expected = contract.with_camera_pose("front", moved).project("front", tip)[0]
    np.testing.assert_allclose(labels.keypoint_uv[0, 1], expected, atol=1e-5)
    assert np.abs(expected - contract.project("front", tip)[0]).max() > 1e-3


def test_gauges_tell_listening_from_guessing(recorded: Path, contract: Contract) -> None:
    """Protects the gauges: one that reads the answer scores 1, one that points at a fixed block scores a third."""
    scenes = SceneSamples(sorted((recorded / "scenes").glob("*.safetensors")), contract, swiftvla_nano(), tokenize)
    knows = listening(scenes, lambda batch: batch.labels.keypoint_uv[:, 0], None)
    assert (knows.first_step_accuracy, knows.answers_change) == (1.0, 1.0)
    blocks = scenes.target_uv[:, 0]
    deaf = listening(scenes, lambda batch: blocks[: len(batch.state)], lambda batch: batch.labels.actions)
    assert deaf.first_step_accuracy == pytest.approx(1 / 3, abs=0.05)
    assert deaf.answers_change == 0
    assert deaf.chunks_change == 0


def test_images_beyond_the_memory_lie_in_a_file(
    recorded: Path, contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects large datasets: images that memory has no room for are read from a file, which nobody has to delete."""
    handles = open_episodes(recorded / "episodes", contract)[:1]
    expected = EpisodeSamples(handles, contract, swiftvla_nano(), tokenize, scratch=tmp_path).images
    monkeypatch.setattr("os.sysconf", lambda _: 1)
    images = EpisodeSamples(handles, contract, swiftvla_nano(), tokenize, scratch=tmp_path).images
    assert isinstance(images, np.memmap)
    np.testing.assert_array_equal(images, expected)
    assert list(tmp_path.iterdir()) == []


class _KilledError(Exception):
    pass


def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    recorded: Path, start: Path, contract: Contract, tmp_path: Path
) -> None:
    """Protects long trainings: a run that was killed ends in the very weights of one that wasn't."""
    options = TrainOptions(steps=4, batch=4, validate_every=2, warmup_steps=2, noise_samples=2)
    source = PolicyStart(recorded / "episodes", start, max_delay_steps=4)

    def kill_at_two(line: Report) -> None:
        if line.step == 2:
            raise _KilledError

    whole = TrainingRun(tmp_path / "whole", recorded / "scenes", contract, options, processes=1)
    train_policy(whole, source, lambda _: None)
    killed = dataclasses.replace(whole, out=tmp_path / "killed")
    with pytest.raises(_KilledError):
        train_policy(killed, source, kill_at_two)
    steps: list[int] = []
    train_policy(killed, source, lambda line: steps.append(line.step))
    assert steps == [3, 4]
    for name in ("model.safetensors", "auxiliary.safetensors", "stats.json"):
        assert (whole.out / name).read_bytes() == (killed.out / name).read_bytes()
    assert "right block before the first motion" in (whole.out / "card.md").read_text()
    assert json.loads((whole.out / "stats.json").read_text())["action"].keys() == set(contract.joint_names)
    load_policy(whole.out, contract=contract, device="cpu")
    with pytest.raises(CheckpointError, match="finished"):
        train_policy(whole, source, lambda _: None)


def test_grounding_in_two_processes_starts_a_policy(
    recorded: Path, contract: Contract, tiny: SwiftVLAConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the grounding stage: forked processes write one checkpoint, from which a policy can be trained."""
    monkeypatch.setattr("swiftvla_ros.training.stages.swiftvla_nano", lambda **_: tiny)
    options = TrainOptions(steps=2, batch=4, validate_every=2, scene_share=1.0)
    run = TrainingRun(tmp_path / "two", recorded / "scenes", contract, options, processes=2, device="cpu")
    result = pretrain_grounding(run, FULL.read_text(), lambda _: None)
    assert result.last.validation is not None
    assert np.isfinite(result.last.validation.losses["trajectory"])
    assert not result.listens()
    objective = build(tiny, 1)
    assert load_start(run.out, objective) == ("expert", "action_out_proj", "guide")


def test_a_batch_that_cant_be_shared_is_refused(
    recorded: Path, start: Path, contract: Contract, tmp_path: Path
) -> None:
    """Protects the effective batch size: an odd batch for two micro-batches is refused, not rounded."""
    run = TrainingRun(tmp_path, recorded / "scenes", contract, TrainOptions(steps=1, batch=5, accumulate=2), 1, "cpu")
    with pytest.raises(ValueError, match="multiple of 2"):
        train_policy(run, PolicyStart(recorded / "episodes", start), lambda _: None)


def test_no_episodes_says_how_to_record_some(tmp_path: Path) -> None:
    """Protects the first training: an empty folder points at `swiftvla collect`."""
    with pytest.raises(EpisodeError, match="swiftvla collect"):
        list_files(tmp_path, "episode")


def test_no_grounded_backbone_says_how_to_make_one(recorded: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects the first training: a missing start points at `swiftvla pretrain-grounding`."""
    run = TrainingRun(tmp_path / "out", recorded / "scenes", contract, TrainOptions(steps=1))
    with pytest.raises(CheckpointError, match="pretrain-grounding"):
        train_policy(run, PolicyStart(recorded / "episodes", tmp_path / "nothing"), lambda _: None)


@pytest.mark.parametrize("kind", ["delta_to_state", "delta_per_step", "velocity"])
def test_rows_are_learned_as_the_contract_says(recorded: Path, contract: Contract, kind: str) -> None:
    """Protects other kinds of actions: what training reads is what inference turns back into the commands."""
    timing = contract.policy.model_copy(update={"actions": kind})
    moving = contract.with_keys(policy=timing)
    handles = open_episodes(recorded / "episodes", moving)[:1]
    episode = handles[0].load()
    rows = EpisodeSamples(handles, moving, swiftvla_nano(), tokenize).labels(np.array([3])).actions[0]
    gripper = moving.gripper_mask
    found = ActionCoding.of(moving).decode(rows, episode.state[3])
    np.testing.assert_allclose(found, episode.action[3:13], atol=1e-5)
    np.testing.assert_allclose(rows[:, gripper], episode.action[3:13, gripper], atol=1e-6)
