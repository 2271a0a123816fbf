# SPDX-License-Identifier: Apache-2.0
"""SmolVLA checkpoints of lerobot: what they compute there is what they compute here.

``smolvla_lerobot.json`` was made with lerobot 0.4.4, transformers 4.57.6 and torch 2.13 on a CPU, in float32: a
SmolVLAPolicy of 4 layers whose tensors hold what ``smolvla_folder.weight`` gives them, saved with ``save_pretrained``;
its chunks for the inputs that :func:`model_case` and :func:`test_policy_gives_lerobots_chunk` draw, from
``VLAFlowMatching.sample_actions`` and from preprocessor, ``predict_action_chunk`` and postprocessor.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from smolvla_folder import PREPROCESSOR, VOCABULARY, to_old_format
from spoiled import edit_json

from swiftvla_ros.contract import Contract
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA
from swiftvla_ros.policy import Observation, load_policy
from swiftvla_ros.training.importers.smolvla import import_smolvla


@pytest.fixture(scope="module")
def network(imported: Path) -> SwiftVLA:
    """Return the imported network."""
    config = SwiftVLAConfig.from_json(json.loads((imported / "config.json").read_text())["model"])
    network = SwiftVLA(config)
    network.load_state_dict(load_file(imported / "model.safetensors"))
    return network.eval()


def model_case(cameras: int) -> tuple[ModelInput, torch.Tensor]:
    """Return the inputs and the noise of the reference's case with so many cameras."""
    draw = np.random.RandomState(0)
    for count in range(1, cameras + 1):
        images = [draw.uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32) for _ in range(count)]
        text = draw.randint(0, VOCABULARY, (1, 9))
        state = draw.standard_normal((1, 8)).astype(np.float32)
        noise = draw.standard_normal((1, 6, 8)).astype(np.float32)
    words = torch.from_numpy(text)
    present = torch.ones_like(words, dtype=torch.bool)
    inputs = ModelInput(torch.from_numpy(np.stack(images, axis=1)), words, present, torch.from_numpy(state))
    return inputs, torch.from_numpy(noise)


@pytest.mark.parametrize("case", range(6))
def test_network_computes_lerobots_chunk(network: SwiftVLA, golden: dict[str, Any], case: int) -> None:
    """Protects parity: the same weights and inputs give lerobot's chunk, 1 to 3 cameras, padded text and not."""
    reference = golden["cases"][case]
    inputs, noise = model_case(reference["cameras"])
    padding = (0, reference["padding"])
    inputs = inputs._replace(
        text=torch.nn.functional.pad(inputs.text, padding),
        text_present=torch.nn.functional.pad(inputs.text_present, padding),
    )
    chunk = network.sample_actions(inputs, noise)[0]
    torch.testing.assert_close(chunk, torch.tensor(reference["chunk"]), atol=1e-4, rtol=0)


def test_policy_gives_lerobots_chunk(imported: Path, contract: Contract, golden: dict[str, Any]) -> None:
    """Protects the whole import: infer is lerobot's policy with its processors; images, tokens, units, statistics."""
    draw = np.random.RandomState(2)
    images = {
        "front": draw.randint(0, 256, (48, 64, 3)).astype(np.uint8),
        "wrist": draw.randint(0, 256, (64, 40, 3)).astype(np.uint8),
    }
    state = np.radians(draw.uniform(-60, 60, 6).astype(np.float32))
    noise = draw.standard_normal((6, 8)).astype(np.float32)
    policy = load_policy(imported, contract=contract, device="cpu")
    chunk = policy.infer(Observation(images, state, "pick up the red block"), noise=noise)
    np.testing.assert_allclose(np.degrees(chunk), golden["policy"]["degrees"], atol=5e-3)


def test_import_tells_what_it_left_out(written: Path, contract: Contract, tokenizer: str, tmp_path: Path) -> None:
    """Protects the account of tensors: what is not imported is named, and so are an absent camera and assumptions."""
    notes = " / ".join(import_smolvla(written, tmp_path / "out", contract, tokenizer).notes)
    for part in ("lm_head", "empty_camera_0", "load_vlm_weights", "shoulder_pan, shoulder_lift"):
        assert part in notes


def test_positions_stay_where_lerobot_runs_bfloat16(
    folder: Path, contract: Contract, tokenizer: str, tmp_path: Path
) -> None:
    """Protects published weights: with load_vlm_weights lerobot's tower is bfloat16 and finds every position."""
    edit_json("config.json", lambda d: d.update(load_vlm_weights=True))(folder)
    import_smolvla(folder, tmp_path / "out", contract, tokenizer)
    name = "vision_model.embeddings.position_embedding.weight"
    ours = load_file(tmp_path / "out" / "model.safetensors")[f"backbone.{name}"]
    theirs = load_file(folder / "model.safetensors")[f"model.vlm_with_expert.vlm.model.{name}"]
    assert torch.equal(ours, theirs)


def test_statistics_of_older_checkpoints(
    folder: Path, imported: Path, contract: Contract, tokenizer: str, tmp_path: Path
) -> None:
    """Protects checkpoints of lerobot 0.1 to 0.3, whose statistics are buffers among the weights."""
    to_old_format(folder)
    import_smolvla(folder, tmp_path / "out", contract, tokenizer)
    assert json.loads((tmp_path / "out/stats.json").read_text()) == json.loads((imported / "stats.json").read_text())


def test_given_statistics_and_joint_order(
    folder: Path, golden: dict[str, Any], contract: Contract, tokenizer: str, tmp_path: Path
) -> None:
    """Protects --stats and --joints: numbers of a dataset's stats.json reach the joints that the order names."""
    (folder / PREPROCESSOR).unlink()
    (tmp_path / "stats.json").write_text(json.dumps(golden["statistics"]))
    order = contract.joint_names[::-1]
    import_smolvla(folder, tmp_path / "out", contract, tokenizer, joint_order=order, statistics=tmp_path / "stats.json")
    table = json.loads((tmp_path / "out/stats.json").read_text())
    first = golden["statistics"]["observation.state"]["mean"][0]
    assert table["state"][order[0]]["mean"] == pytest.approx(np.radians(first))
