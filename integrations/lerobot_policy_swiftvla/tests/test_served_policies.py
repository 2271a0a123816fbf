# SPDX-License-Identifier: Apache-2.0
"""LeRobot's own policies behind our node: the process computes what LeRobot does, and the same again."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors

from swiftvla_ros.contract import Contract
from swiftvla_ros.observation.observation import Observation
from swiftvla_ros.policy import load_policy
from swiftvla_ros.policy.lerobot.lerobot_policy import random_seed
from swiftvla_ros.policy.lerobot.policy_process import PYTHON

IMAGE, STATE, ACTION = "observation.images", "observation.state", "action"


def write_policy(folder: Path, kind: str, joints: int) -> Path:
    """Write a small policy with random weights, and statistics that tell units from normalised numbers."""
    torch.manual_seed(0)
    image = PolicyFeature(type=FeatureType.VISUAL, shape=(3, 96, 96))
    features = {
        "input_features": {
            f"{IMAGE}.front": image,
            f"{IMAGE}.wrist": image,
            STATE: PolicyFeature(type=FeatureType.STATE, shape=(joints,)),
        },
        "output_features": {ACTION: PolicyFeature(type=FeatureType.ACTION, shape=(joints,))},
        "device": "cpu",
        "pretrained_backbone_weights": None,
    }
    if kind == "act":
        config = ACTConfig(
            **features, chunk_size=12, n_action_steps=5, dim_model=32, n_heads=2,
            dim_feedforward=32, n_encoder_layers=1, n_vae_encoder_layers=1,
        )  # fmt: skip
    else:
        config = DiffusionConfig(
            **features, horizon=8, n_action_steps=4, down_dims=(16, 32), num_inference_steps=3, n_groups=4,
        )  # fmt: skip
    statistics = {
        name: {"mean": torch.full((joints,), 0.3), "std": torch.full((joints,), 0.7),
               "min": torch.full((joints,), -1.5), "max": torch.full((joints,), 1.2)}
        for name in (STATE, ACTION)
    }  # fmt: skip
    grey = {"mean": 0.4, "std": 0.2, "min": 0.0, "max": 1.0}
    pixels = {key: torch.full((3, 1, 1), value) for key, value in grey.items()}
    statistics |= {f"{IMAGE}.{name}": pixels for name in ("front", "wrist")}
    get_policy_class(kind)(config).save_pretrained(folder)
    for pipeline in make_pre_post_processors(config, dataset_stats=statistics):
        pipeline.save_pretrained(folder)
    return folder


def observation(contract: Contract) -> Observation:
    """Make pictures of noise, and a pose that float32 holds."""
    rng = np.random.default_rng(1)
    images = {name: rng.integers(0, 256, (96, 96, 3), dtype=np.uint8) for name in contract.camera_names}
    return Observation(images, contract.rest.astype(np.float32).astype(np.float64), "pick up the red block")


def selected(folder: Path, kind: str, seen: Observation, count: int, seed: int) -> np.ndarray:
    """The first actions of an episode, as LeRobot's own loop selects them."""
    policy = get_policy_class(kind).from_pretrained(folder)
    before, behind = make_pre_post_processors(policy.config, str(folder))
    batch = {
        f"{IMAGE}.{name}": torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        for name, image in seen.images.items()
    }
    batch |= {STATE: torch.from_numpy(seen.state).float()[None], "task": seen.instruction, "robot_type": ""}
    torch.manual_seed(seed)
    return np.concatenate([behind(policy.select_action(before(dict(batch)))).numpy() for _ in range(count)])


@pytest.mark.parametrize("kind", ["act", "diffusion"])
def test_chunks_are_lerobots_and_come_again(contract: Contract, tmp_path: Path, kind: str, monkeypatch, capsys) -> None:
    """Protects whoever brings a policy: the same rows as in LeRobot, and from the same seed the same bits."""
    monkeypatch.setenv(PYTHON, sys.executable)
    folder, seen = write_policy(tmp_path / kind, kind, len(contract.joint_names)), observation(contract)
    policy = load_policy(folder, contract=contract, device="cpu", threads=1)
    assert policy.runtime.startswith("lerobot ")
    assert policy.runtime.endswith(f" {kind}")
    assert policy.why_runtime == "", "a chunk of the same seed is the same"
    noise = policy.sample_noise(3)
    chunk = policy.infer(seen, noise=noise)
    again = load_policy(folder, contract=contract, runtime=policy.runtime, device="cpu", threads=policy.threads)
    np.testing.assert_array_equal(chunk, again.infer(seen, noise=again.sample_noise(3)))
    if kind == "act":
        assert chunk.shape == (12, 6), "all that it predicts, not n_action_steps alone"
        assert noise is None, "it draws nothing"
    else:
        assert chunk.shape == (4, 6)
        assert not np.array_equal(chunk, policy.infer(seen, noise=policy.sample_noise(4)))
    theirs = selected(folder, kind, seen, 4, 0 if noise is None else random_seed(noise))
    worst = float(np.abs(chunk[:4] - theirs).max())
    with capsys.disabled():
        print(f"\nserved {kind}: {worst:.1e} rad from what LeRobot selects")
    assert worst <= 1e-6
