# SPDX-License-Identifier: Apache-2.0
"""SmolVLA checkpoints of lerobot: what they compute there is what they compute here.

``smolvla_lerobot.json`` was made with lerobot 0.4.4, transformers 4.57.6 and torch 2.13 on a CPU, in float32: a
SmolVLAPolicy of 4 layers whose tensors hold :func:`weight`, saved with ``save_pretrained``; its chunks for the inputs
that :func:`model_case` and :func:`test_policy_gives_lerobots_chunk` draw, from ``VLAFlowMatching.sample_actions`` and
from preprocessor, ``predict_action_chunk`` and postprocessor.
"""

import json
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from spoiled import edit_json, edit_weights

from swiftvla_ros.contract import Contract, contract_from_text, load_contract
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA
from swiftvla_ros.policy import CheckpointError, Observation, load_policy
from swiftvla_ros.policy.tokenizer import trim_tokenizer
from swiftvla_ros.training.importers.smolvla import import_smolvla

VOCABULARY = 6144
PREPROCESSOR = "policy_preprocessor_step_5_normalizer_processor.safetensors"
POSTPROCESSOR = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    """Return what lerobot wrote and computed."""
    text = (Path(__file__).parent / "smolvla_lerobot.json").read_text()
    return dict(json.loads(text))


def weight(name: str, shape: list[int]) -> torch.Tensor:
    """Return the weights that a tensor of this name has in the reference."""
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) == 1:
        values = values * 0.1 + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
    elif "embed" in name and "patch" not in name:
        values = values * 0.1
    else:
        values = values / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


@pytest.fixture(scope="module")
def written(golden: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that lerobot writes."""
    folder = tmp_path_factory.mktemp("lerobot") / "smolvla"
    folder.mkdir()
    for name in ("config", "policy_preprocessor", "policy_postprocessor"):
        (folder / f"{name}.json").write_text(json.dumps(golden[name]))
    save_file({n: weight(n, shape) for n, shape in golden["tensors"].items()}, folder / "model.safetensors")
    statistics = {
        f"{feature}.{key}": torch.tensor(values)
        for feature, table in golden["statistics"].items()
        for key, values in table.items()
    }
    for name in (PREPROCESSOR, POSTPROCESSOR):
        save_file(statistics, folder / name)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may change."""
    return Path(shutil.copytree(written, tmp_path / "lerobot"))


@pytest.fixture(scope="module")
def contract(repository: Path) -> Contract:
    """Return a contract of six joints in degrees, whose cameras have the reference's sizes and names."""
    data = yaml.safe_load(load_contract("so101_sim").text)
    for joint in data["joints"]:
        joint["unit"] = "deg"
    for camera, size in zip(data["cameras"], ([64, 48], [40, 64]), strict=True):
        camera["size"] = size
    data["lerobot"] = {"cameras": {"wrist": "observation.images.hand"}}
    return contract_from_text(yaml.safe_dump(data), repository / "config/robots/degrees.yaml")


@pytest.fixture(scope="module")
def tokenizer(repository: Path) -> str:
    """Return SmolLM2's tokenizer, cut to the reference's vocabulary."""
    return trim_tokenizer((repository / "models/smollm2-tokenizer/tokenizer.json").read_text(), VOCABULARY)


@pytest.fixture(scope="module")
def imported(written: Path, contract: Contract, tokenizer: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the imported checkpoint."""
    out = tmp_path_factory.mktemp("imported") / "checkpoint"
    import_smolvla(written, out, contract, tokenizer)
    return out


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
    _to_old_format(folder)
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


def _to_old_format(folder: Path, value: float | None = None) -> None:
    statistics = load_file(folder / PREPROCESSOR)
    for path in folder.glob("policy_*"):
        path.unlink()
    groups = {"normalize_inputs": "observation.state", "unnormalize_outputs": "action", "normalize_targets": "action"}
    buffers = {
        f"{group}.buffer_{feature.replace('.', '_')}.{key}": statistics[f"{feature}.{key}"].clone()
        for group, feature in groups.items()
        for key in ("mean", "std")
    }
    if value is not None:
        for buffer in buffers.values():
            buffer.fill_(value)
    edit_weights(lambda w: w.update(buffers))(folder)


REFUSED: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "statistics absent": (lambda f: (f / PREPROCESSOR).unlink(), ["preprocessor", "observation.state", "--stats"]),
    "statistics inactive": (lambda f: _to_old_format(f, float("inf")), ["model.safetensors", "infinite", "--stats"]),
    "no normalisation": (
        edit_json("config.json", lambda d: d["normalization_mapping"].update(ACTION="IDENTITY")),
        ["config.json", "normalization_mapping.ACTION", "--stats"],
    ),
    "unknown tensor": (edit_weights(lambda w: w.update({"model.nose": torch.ones(1)})), ["model.nose"]),
    "tensor missing": (edit_weights(lambda w: w.pop("model.state_proj.bias")), ["missing state_proj.bias"]),
    "other shape": (
        edit_weights(lambda w: w.update({"model.state_proj.bias": torch.ones(3)})),
        ["state_proj.bias has shape [3]"],
    ),
    "other camera": (
        edit_json("config.json", lambda d: d["input_features"].update({"observation.images.left": {"type": "VISUAL"}})),
        ["observation.images.left", "lerobot", "--without"],
    ),
    "other vectors": (
        edit_json("config.json", lambda d: d["output_features"]["action"].update(shape=[7])),
        ["output_features", "action", "[7]", "6 joints"],
    ),
    "other policy": (edit_json("config.json", lambda d: d.update(type="act")), ["config.json", "type", "act"]),
    "Aloha's conversions": (
        edit_json("config.json", lambda d: d.update(adapt_to_pi_aloha=True)),
        ["adapt_to_pi_aloha"],
    ),
    "fewer expert layers": (edit_json("config.json", lambda d: d.update(num_expert_layers=2)), ["num_expert_layers 2"]),
    "other image size": (
        edit_json("config.json", lambda d: d.update(resize_imgs_with_padding=[96, 96])),
        ["resize_imgs_with_padding", "64×64"],
    ),
    "unknown backbone": (edit_json("config.json", lambda d: d.update(vlm_model_name="a/b")), ["vlm_model_name", "a/b"]),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), ["model.safetensors", "can't be read"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_checkpoints(folder: Path, contract: Contract, tokenizer: str, tmp_path: Path, case: str) -> None:
    """Protects the arm: what can't be reproduced is not imported; the message names file, key and fix."""
    spoil, expected = REFUSED[case]
    spoil(folder)
    with pytest.raises(CheckpointError) as caught:
        import_smolvla(folder, tmp_path / "out", contract, tokenizer)
    for part in expected:
        assert re.search(re.escape(part), str(caught.value)), caught.value
    assert not (tmp_path / "out").exists()
