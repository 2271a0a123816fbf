# SPDX-License-Identifier: Apache-2.0
"""A policy computes the same chunks in LeRobot and here, whichever way it went."""

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lerobot.policies.factory import make_pre_post_processors

from exported_dataset import SHIPPED, Run, saved
from lerobot_policy_swiftvla.dataset_description import describe
from lerobot_policy_swiftvla.modeling_swiftvla import SwiftVLAPolicy
from swiftvla_ros.contract import Contract
from swiftvla_ros.observation.observation import Observation
from swiftvla_ros.policy import load_policy
from swiftvla_ros.training.importers.lerobot_policy import export_policy, import_policy

# Actions are float32 in LeRobot, float64 here.
ROUNDING = 1e-6


def observations(contract: Contract, count: int = 4) -> list[Observation]:
    """Make pictures of noise, poses that float32 holds, and different words."""
    rng = np.random.default_rng(1)
    words = ("pick up the red block", "touch the green block", "lift the blue block", "take the red block")
    made = []
    for k in range(count):
        images = {
            camera.name: rng.integers(0, 256, (camera.size[1], camera.size[0], 3), dtype=np.uint8)
            for camera in contract.cameras
        }
        state = (contract.rest + 0.1 * rng.standard_normal(6)).astype(np.float32).astype(np.float64)
        made.append(Observation(images, state, words[k]))
    return made


def batch_of(observation: Observation) -> dict:
    """Give an observation as LeRobot's datasets and environments do."""
    images = {
        f"observation.images.{name}": torch.from_numpy(image).permute(2, 0, 1).float().div(255)
        for name, image in observation.images.items()
    }
    state = torch.from_numpy(observation.state.astype(np.float32))
    return {**images, "observation.state": state, "task": observation.instruction}


def chunks(folder: Path, made: list[Observation]) -> np.ndarray:
    """Compute LeRobot's chunks, through its pipelines."""
    policy = SwiftVLAPolicy.from_pretrained(folder)
    before, behind = make_pre_post_processors(policy.config, str(folder))
    network = policy.reader.network
    noise = torch.zeros((1, network.horizon, network.action_dim))
    return np.stack([behind(policy.predict_action_chunk(before(batch_of(o)), noise))[0].numpy() for o in made])


def difference(folder: Path, theirs: Path, contract: Contract, capsys: pytest.CaptureFixture, title: str) -> float:
    """Print how far both are apart."""
    made = observations(contract)
    ours = load_policy(folder, contract=contract, runtime="torch", device="cpu", threads=1)
    zero = np.zeros((10, 6), np.float32)
    own = np.stack([ours.infer(observation, noise=zero) for observation in made])
    found = float(np.abs(chunks(theirs, made) - own).max())
    exact = float(np.abs(chunks(theirs, made) - own.astype(np.float32)).max())
    with capsys.disabled():
        print(f"\n{title}: chunks differ by {found:.1e} rad, by {exact:.1e} where ours are rounded to float32")
    return found


def test_the_shipped_policy_computes_the_same_chunks(contract: Contract, tmp_path: Path, capsys) -> None:
    """Protects deployment in LeRobot: images, words, state and rows mean there what they mean here."""
    export_policy(SHIPPED, tmp_path / "theirs")
    assert difference(SHIPPED, tmp_path / "theirs", contract, capsys, "exported") <= ROUNDING


def test_what_lerobot_trained_runs_here(contract: Contract, tmp_path: Path, lerobot_train: Run, capsys) -> None:
    """Protects the way to the robot: what LeRobot saved is a checkpoint of ours with the same chunks."""
    lerobot_train(tmp_path / "run", "--policy.type=swiftvla", "--steps=2", "--batch_size=4", "--save_freq=2")
    import_policy(saved(tmp_path / "run"), tmp_path / "ours", contract)
    assert difference(tmp_path / "ours", saved(tmp_path / "run"), contract, capsys, "imported") <= ROUNDING


def test_images_of_other_sizes_are_padded_as_ours() -> None:
    """Protects policies that read images of other sizes: they are padded and resized as our runtimes do it."""
    from lerobot_policy_swiftvla.network_batch import network_images
    from swiftvla_ros.policy.image_preprocessing import PAD_TOP_LEFT, prepare_images

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    theirs = network_images([torch.from_numpy(image).permute(2, 0, 1)[None]], 96, PAD_TOP_LEFT)[0].numpy()
    np.testing.assert_allclose(theirs, prepare_images([image], PAD_TOP_LEFT, 96), atol=1e-5)


def test_a_chunk_continues_what_will_have_been_executed(tmp_path: Path, contract: Contract) -> None:
    """Protects real-time chunking: rows given as executed come out again, and zeros that fill a plan up don't count."""
    export_policy(SHIPPED, tmp_path / "theirs")
    policy = SwiftVLAPolicy.from_pretrained(tmp_path / "theirs")
    before, _ = make_pre_post_processors(policy.config, str(tmp_path / "theirs"))
    (observation,) = observations(contract, 1)
    batch = before(batch_of(observation))
    free = policy.predict_action_chunk(batch)
    plan = free[0, 2:8] + 0.05
    filled = torch.cat([plan, torch.zeros(4, 6)])
    with torch.inference_mode():
        held = policy.predict_action_chunk(batch, inference_delay=3, prev_chunk_left_over=filled)
    assert policy.supports_rtc()
    torch.testing.assert_close(held[0, :3], plan[:3], rtol=0, atol=1e-5)
    assert (held[0, 3:] - free[0, 3:]).abs().max() > 1e-3
    same = policy.predict_action_chunk(batch, inference_delay=3, prev_chunk_left_over=plan)
    torch.testing.assert_close(same, held, rtol=0, atol=0)


def test_adapters_train_what_they_should(tmp_path: Path) -> None:
    """Protects fine-tuning with PEFT: the default targets are there, and nothing else is trained."""
    pytest.importorskip("peft")
    export_policy(SHIPPED, tmp_path / "theirs")
    policy = SwiftVLAPolicy.from_pretrained(tmp_path / "theirs")
    policy.config.pretrained_path = tmp_path / "theirs"
    wrapped = policy.wrap_with_peft()
    trained = {name for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora" in name for name in trained)
    for part in ("expert.layers.0.self_attn.q_proj", "expert.action_in_proj", "state_proj", "action_out_proj"):
        assert any(part in name for name in trained), part


def test_what_a_policy_records_changes_nothing_of_it(tmp_path: Path) -> None:
    """Protects ``lerobot-record`` with a policy: its dataset is empty then; another robot or step is refused."""
    export_policy(SHIPPED, tmp_path / "theirs")
    config = SwiftVLAPolicy.from_pretrained(tmp_path / "theirs").config
    before = copy.deepcopy(config)
    joints = {"shape": (6,), "names": list(config.joint_names)}

    def empty(fps: int, names: list[str]) -> SimpleNamespace:
        features = dict.fromkeys(("observation.state", "action"), joints | {"names": names})
        return SimpleNamespace(features=features, fps=fps, total_episodes=0, root=tmp_path)

    describe(config, empty(10, config.joint_names))
    assert config == before
    with pytest.raises(ValueError, match=r"write --dataset\.fps=10"):
        describe(config, empty(30, config.joint_names))
    with pytest.raises(ValueError, match="the robot has"):
        describe(config, empty(10, config.joint_names[::-1]))
