# SPDX-License-Identifier: Apache-2.0
"""Recordings, and a network of a few thousand weights that starts from a checkpoint like the real ones."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.teacher import targets as teacher_targets
from swiftvla_ros.model.config import ExpertConfig, SwiftVLAConfig, TextConfig, VisionConfig, swiftvla_nano
from swiftvla_ros.policy.tokenizer import trim_tokenizer
from swiftvla_ros.sim.data.collect import collect
from swiftvla_ros.sim.data.grounding_scenes import render_scenes
from swiftvla_ros.training.checkpoint_writer import write_grounding
from swiftvla_ros.training.trainer import build

FULL_TOKENIZER = Path(__file__).parents[2] / "models" / "smollm2-tokenizer" / "tokenizer.json"
CACHES = (3, 6)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Path:
    """Record six demonstrations and render twelve scenes; random numbers stand for the teacher's features."""
    folder = tmp_path_factory.mktemp("recorded")
    collect(folder / "episodes", 6, runner=Runner(progress=False), seed=3, contract=contract)
    render_scenes(folder / "scenes", 12, runner=Runner(progress=False), seed=3, contract=contract)
    config = teacher_targets.TargetsConfig("0" * 64, CACHES, ("wrist", "front"), tokens=4, dim=8, precision="float32")
    teacher_targets.prepare(folder / "targets", config)
    rng = np.random.default_rng(0)
    found = []
    for handle in open_episodes(folder / "episodes", contract):
        shape = (handle.steps(), config.tokens, config.dim)
        features = {k: (k + rng.standard_normal(shape)).astype(np.float16) for k in CACHES}
        found.append(teacher_targets.EpisodeTargets(handle.name, handle.load().stamps_s, features))
    teacher_targets.write_shard(folder / "targets", config, found)
    teacher_targets.write_index(folder / "targets")
    return folder


@pytest.fixture(scope="session")
def tiny() -> SwiftVLAConfig:
    """Return sizes of a network whose steps take a few milliseconds."""
    return dataclasses.replace(
        swiftvla_nano(vocab_size=1024),
        vision=VisionConfig(96, 24, 16, 32, num_layers=1, num_heads=2, scale_factor=2),
        text=TextConfig(1024, 32, 48, 2, num_heads=2, num_kv_heads=1, head_dim=16, rope_theta=1e4, max_tokens=96),
        expert=ExpertConfig(hidden_size=24, intermediate_size=48),
    )


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory, contract: Contract, tiny: SwiftVLAConfig) -> Path:
    """Return a grounding checkpoint of the tiny network, with random weights."""
    folder = tmp_path_factory.mktemp("start") / "grounding"
    tokenizer = trim_tokenizer(FULL_TOKENIZER.read_text(), tiny.text.vocab_size)
    write_grounding(folder, build(tiny, 0), tokenizer, contract, "# A start")
    return folder


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep torch from waiting for threads that a busy machine doesn't run, and from a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
