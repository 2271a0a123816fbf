# SPDX-License-Identifier: Apache-2.0
"""The paper's 450M network in training: one optimiser step with every loss, within a laptop's memory."""

from __future__ import annotations

import dataclasses
import resource
import time
from pathlib import Path

import numpy as np
import pytest

from swiftvla_ros.contract import Contract, contract_from_text
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.datasets.store import Episode, load_episode, save_episode
from swiftvla_ros.episodes.teacher import targets as teacher_targets
from swiftvla_ros.model.config import GeometryBranchConfig, swiftvla_450m
from swiftvla_ros.model.objective import LOSSES
from swiftvla_ros.policy.normalization import Normalizer
from swiftvla_ros.training.options import TrainOptions
from swiftvla_ros.training.samples import EpisodeSamples
from swiftvla_ros.training.trainer import Data, Trainer, build

DIM, TOKENS = 2048, 64  # what StreamVGGT gives


@pytest.fixture
def large(contract: Contract) -> Contract:
    """Return the simulated robot's contract with images of the size that SmolVLM reads."""
    text = contract.text.replace("size: [96, 96]", "size: [512, 512]")
    return contract_from_text(text, contract.path)


def record(folder: Path, source: Path, contract: Contract) -> teacher_targets.TeacherTargets:
    """Write two steps of an episode with large random images, and random 4D features of them."""
    episode = load_episode(source, contract)
    rng = np.random.default_rng(0)
    images = {name: rng.integers(256, size=(2, 512, 512, 3), dtype=np.uint8) for name in contract.camera_names}
    short = Episode(
        episode.instruction, images, episode.state[:2], episode.action[:2], episode.expert[:2], episode.stamps_s[:2]
    )
    save_episode(folder / "episode_0.safetensors", short, contract)
    config = teacher_targets.TargetsConfig("0" * 64, (3,), ("wrist", "front"), TOKENS, DIM, "float32")
    teacher_targets.prepare(folder, config)
    features = rng.standard_normal((2, TOKENS, DIM)).astype(np.float16)
    written = teacher_targets.EpisodeTargets("episode_0.safetensors", short.stamps_s, {3: features})
    teacher_targets.write_shard(folder, config, [written])
    teacher_targets.write_index(folder)
    return teacher_targets.TeacherTargets.open(folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_full_size_trains_with_all_losses(recorded: Path, large: Contract, tmp_path: Path) -> None:
    """Protects the paper's model: batch 1, each loss finite, in bf16 with gradient checkpointing."""
    targets = record(tmp_path, recorded / "episodes" / "episode_000000.safetensors", large)
    branch = GeometryBranchConfig(DIM, TOKENS, p_mask_4d=0.5, p_mask_2d=0.5, mask_2d_ramp_steps=0)
    config = dataclasses.replace(swiftvla_450m(num_cameras=2), geometry=branch)
    handles = open_episodes(tmp_path, large)
    samples = EpisodeSamples(handles, large, config, lambda _: np.arange(10), targets)
    unit = Normalizer(np.zeros(6), np.ones(6))
    # This seed masks 2D in one of the two samples and 4D in the other.
    options = TrainOptions(
        steps=1, batch=2, accumulate=2, noise_samples=1, warmup_steps=0, cache_steps=(3,), frozen="vision",
        gradient_checkpointing=True, seed=1,
    )  # fmt: skip
    trainer = Trainer(build(config, 0), Data(samples, samples, None, None, unit, unit), options, "cpu")
    before = {name: p.detach().flatten()[:8].clone() for name, p in trainer.objective.named_parameters()}
    began = time.monotonic()
    losses = trainer.step(0)
    print(f"one step: {time.monotonic() - began:.0f} s")
    assert losses.keys() == set(LOSSES)
    assert np.isfinite(list(losses.values())).all()
    moved = {
        name for name, p in trainer.objective.named_parameters() if not p.detach().flatten()[:8].equal(before[name])
    }
    for part in ("backbone.connector", "backbone.text_model", "expert", "fusion", "state_proj"):
        assert any(name.startswith(f"policy.{part}") for name in moved), part
    for part in ("trajectory_head", "geometry_proj", "reconstruct_2d", "reconstruct_4d"):
        assert any(name.startswith(f"auxiliary.{part}") for name in moved), part
    assert not any("vision_model" in name for name in moved)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"peak memory: {peak_gb:.1f} GB")
    assert peak_gb < 12
