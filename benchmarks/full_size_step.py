# SPDX-License-Identifier: Apache-2.0
"""The paper's 450 M network in training: time and peak memory of one optimiser step with every loss.

``python benchmarks/full_size_step.py [--steps 1] [--json FILE]``: batch 1, bfloat16, gradient checkpointing, two
cameras of 512×512. Images and 4D features are random: only the cost is of interest.
"""

import argparse
import dataclasses
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from swiftvla_ros.cli.output import write_json
from swiftvla_ros.contract import Contract, contract_from_text, load_contract
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.datasets.store import Episode, save_episode
from swiftvla_ros.episodes.teacher import targets as teacher_targets
from swiftvla_ros.model.config import GeometryBranchConfig, swiftvla_450m
from swiftvla_ros.policy.normalization import Normalizer
from swiftvla_ros.training.options import TrainOptions
from swiftvla_ros.training.samples import EpisodeSamples
from swiftvla_ros.training.trainer import Data, Trainer, build

DIM, TOKENS = 2048, 64  # what StreamVGGT gives
CACHE_STEP = 3


def large_images() -> Contract:
    """Return the simulated robot's contract with images of the size that SmolVLM reads."""
    contract = load_contract("so101_sim")
    return contract_from_text(contract.text.replace("size: [96, 96]", "size: [512, 512]"), contract.path)


def record(folder: Path, contract: Contract) -> teacher_targets.TeacherTargets:
    """Write an episode of two steps with random images, and random 4D features of them."""
    rng = np.random.default_rng(0)
    images = {name: rng.integers(256, size=(2, 512, 512, 3), dtype=np.uint8) for name in contract.camera_names}
    rest, stamps_s = np.tile(contract.rest.astype(np.float32), (2, 1)), np.array([0.0, 0.1])
    episode = Episode("pick up the red block", images, rest, rest, np.ones(2, bool), stamps_s)
    save_episode(folder / "episode_0.safetensors", episode, contract)
    config = teacher_targets.TargetsConfig("0" * 64, (CACHE_STEP,), ("wrist", "front"), TOKENS, DIM, "float32")
    teacher_targets.prepare(folder, config)
    features = rng.standard_normal((2, TOKENS, DIM)).astype(np.float16)
    written = teacher_targets.EpisodeTargets("episode_0.safetensors", stamps_s, {CACHE_STEP: features})
    teacher_targets.write_shard(folder, config, [written])
    teacher_targets.write_index(folder)
    return teacher_targets.TeacherTargets.open(folder)


def make_trainer(folder: Path) -> Trainer:
    """Build the network and its trainer on what :func:`record` wrote."""
    contract = large_images()
    targets = record(folder, contract)
    branch = GeometryBranchConfig(DIM, TOKENS, p_mask_4d=0.5, p_mask_2d=0.5, mask_2d_ramp_steps=0)
    config = dataclasses.replace(swiftvla_450m(num_cameras=2), geometry=branch)
    samples = EpisodeSamples(open_episodes(folder, contract), contract, config, lambda _: np.arange(10), targets)
    unit = Normalizer(np.zeros(6), np.ones(6))
    # This seed masks 2D in one of the two samples and 4D in the other.
    options = TrainOptions(
        steps=1, batch=2, accumulate=2, noise_samples=1, warmup_steps=0, cache_steps=(CACHE_STEP,), frozen="vision",
        gradient_checkpointing=True, seed=1,
    )  # fmt: skip
    return Trainer(build(config, 0), Data(samples, samples, None, None, unit, unit), options, "cpu")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(Path(folder))
        for step in range(arguments.steps):
            began = time.monotonic()
            losses = trainer.step(step)
            print(f"step {step}: {time.monotonic() - began:.1f} s")
            for name, value in losses.items():
                print(f"  {name:24}{value:.4f}")
            if not np.isfinite(list(losses.values())).all():
                raise SystemExit("a loss is not finite")
            figures |= {"step_s": time.monotonic() - began, "losses": losses}
    figures["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"peak memory: {figures['peak_gb']:.1f} GB")
    write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
