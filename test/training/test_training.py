# SPDX-License-Identifier: Apache-2.0
"""Training: what is learned from, what is not, and that a killed run goes on as if nothing had happened."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.episodes.store import EpisodeError, list_episodes, load_episode, save_episode
from swiftvla_ros.model.config import swiftvla_nano
from swiftvla_ros.policy import CheckpointError, load_policy
from swiftvla_ros.policy.tokenizer import InstructionTokenizer
from swiftvla_ros.sim.collect import collect
from swiftvla_ros.sim.scenes import render_scenes
from swiftvla_ros.training.gauges import listening
from swiftvla_ros.training.samples import EpisodeSamples, SceneSamples
from swiftvla_ros.training.stages import StageRun, pretrain_grounding, train_policy
from swiftvla_ros.training.trainer import Report, TrainOptions

FULL = Path(__file__).parents[2] / "models" / "smollm2-tokenizer" / "tokenizer.json"
TOKENIZER = InstructionTokenizer(FULL, 96)


@pytest.fixture(scope="module")
def contract() -> Contract:
    """Return the simulated robot's contract."""
    return load_contract("so101_sim")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Path:
    """Record six demonstrations and render twelve scenes."""
    folder = tmp_path_factory.mktemp("recorded")
    collect(folder / "episodes", 6, workers=1, seed=3, contract=contract, progress=False)
    render_scenes(folder / "scenes", 12, workers=1, seed=3, contract=contract, progress=False)
    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep torch from waiting for threads that a busy machine doesn't run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tokenize(text: str) -> np.ndarray:
    """Return token ids of the whole tokenizer, below the small network's size."""
    return np.minimum(TOKENIZER(text), 6143)


def test_chunks_are_the_commands_that_followed(recorded: Path, contract: Contract) -> None:
    """Protects the time pairing: row i is the command i steps after the observation, relative to its state."""
    path = list_episodes(recorded / "episodes")[0]
    episode = load_episode(path, contract)
    samples = EpisodeSamples([path], contract, swiftvla_nano(), tokenize)
    for k in (0, 3, len(episode.state) - 1):
        for i in (0, 1, 9):
            expected = episode.action[min(k + i, len(episode.state) - 1)] - episode.state[k]
            np.testing.assert_allclose(samples.actions[k, i], expected, atol=1e-6)


def test_disturbances_are_not_imitated(recorded: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects against learning bumps: frames of a disturbance are no samples, and rows after it don't count."""
    episode = load_episode(list_episodes(recorded / "episodes")[0], contract)
    expert = np.ones(len(episode.expert), bool)
    expert[6:9] = False
    save_episode(tmp_path / "episode_0.safetensors", dataclasses.replace(episode, expert=expert), contract)
    samples = EpisodeSamples([tmp_path / "episode_0.safetensors"], contract, swiftvla_nano(), tokenize)
    assert not set(samples.frames) & {6, 7, 8}
    assert samples.row_valid[2].tolist() == [True] * 4 + [False] * 6
    assert samples.row_valid[9].all()
    # Before the first motion and after the disturbance: there the word alone tells where to go.
    assert set(samples.early_frames) == {0, 1, 2, 9, 10, 11}


def test_the_goal_keypoint_is_on_the_block(recorded: Path, contract: Contract) -> None:
    """Protects the labels that make the network listen: forward kinematics puts the goal at the meant block."""
    for path in list_episodes(recorded / "episodes"):
        episode = load_episode(path, contract)
        samples = EpisodeSamples([path], contract, swiftvla_nano(), tokenize)
        distance = np.linalg.norm(samples.keypoint_uv[0, 0] - np.array(episode.metadata["target_uv"]))
        assert samples.keypoint_valid[0, 0]
        # To touch, the closed jaw's tip beside the tool centre point is what meets the block.
        assert distance < (0.09 if episode.metadata["verb"] == "pick" else 0.14), path


def test_gauges_tell_listening_from_guessing(recorded: Path, contract: Contract) -> None:
    """Protects the gauges: one that reads the answer scores 1, one that points at a fixed block scores a third."""
    scenes = SceneSamples(sorted((recorded / "scenes").glob("*.safetensors")), contract, swiftvla_nano(), tokenize)
    knows = listening(scenes, lambda batch: batch.keypoint_uv[:, 0], None)
    assert (knows.first_step_accuracy, knows.answers_change) == (1.0, 1.0)
    blocks = scenes.target_uv[:, 0]
    deaf = listening(scenes, lambda batch: blocks[: len(batch.state)], lambda batch: batch.actions)
    assert deaf.first_step_accuracy == pytest.approx(1 / 3, abs=0.05)
    assert deaf.answers_change == 0
    assert deaf.chunks_change == 0


class _KilledError(Exception):
    pass


def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    recorded: Path, contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects long trainings: a run that was killed ends in the very weights of one that wasn't."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = TrainOptions(steps=4, batch=4, validate_every=2, warmup_steps=2, noise_samples=2)
    scenes, episodes = recorded / "scenes", recorded / "episodes"
    ground = StageRun(
        tmp_path / "grounding", scenes, contract, dataclasses.replace(options, scene_share=1.0), processes=1
    )
    result = pretrain_grounding(ground, FULL.read_text(), lambda _: None)
    assert result.last.step == 4
    assert not result.listens()

    def kill_at_two(line: Report) -> None:
        if line.step == 2:
            raise _KilledError

    whole = StageRun(tmp_path / "whole", scenes, contract, options, processes=1)
    train_policy(whole, episodes, ground.out, lambda _: None)
    killed = StageRun(tmp_path / "killed", scenes, contract, options, processes=1)
    with pytest.raises(_KilledError):
        train_policy(killed, episodes, ground.out, kill_at_two)
    steps: list[int] = []
    train_policy(killed, episodes, ground.out, lambda line: steps.append(line.step))
    assert steps == [3, 4]
    for name in ("model.safetensors", "stats.json"):
        assert (whole.out / name).read_bytes() == (killed.out / name).read_bytes()
    assert "right block before the first motion" in (whole.out / "card.md").read_text()
    assert json.loads((whole.out / "stats.json").read_text())["action"].keys() == set(contract.joint_names)
    load_policy(whole.out, contract=contract, device="cpu")
    with pytest.raises(CheckpointError, match="finished"):
        train_policy(whole, episodes, ground.out, lambda _: None)


def test_processes_that_share_the_work_end_with_one_network(recorded: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects training on several cores: two processes average their gradients and write one checkpoint."""
    options = TrainOptions(steps=2, batch=4, validate_every=2, scene_share=1.0)
    run = StageRun(tmp_path / "two", recorded / "scenes", contract, options, processes=2, device="cpu")
    result = pretrain_grounding(run, FULL.read_text(), lambda _: None)
    assert np.isfinite(result.last.validation_trajectory_loss or np.nan)
    assert (run.out / "model.safetensors").is_file()


def test_a_batch_that_cant_be_shared_is_refused(recorded: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects the effective batch size: an odd batch for two processes is refused, not rounded."""
    run = StageRun(tmp_path / "odd", recorded / "scenes", contract, TrainOptions(steps=1, batch=5), 2, "cpu")
    with pytest.raises(ValueError, match="multiple"):
        pretrain_grounding(run, FULL.read_text(), lambda _: None)


def test_no_episodes_says_how_to_record_some(tmp_path: Path) -> None:
    """Protects the first training: an empty folder points at `swiftvla collect`."""
    with pytest.raises(EpisodeError, match="swiftvla collect"):
        list_episodes(tmp_path)


def test_no_grounded_backbone_says_how_to_make_one(recorded: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects the first training: a missing start points at `swiftvla pretrain-grounding`."""
    run = StageRun(tmp_path / "out", recorded / "scenes", contract, TrainOptions(steps=1))
    with pytest.raises(CheckpointError, match="pretrain-grounding"):
        train_policy(run, recorded / "episodes", tmp_path / "nothing", lambda _: None)
