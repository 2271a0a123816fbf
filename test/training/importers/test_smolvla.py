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
from spoiled import edit_json, edit_weights, pointer

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


FRONT = "observation.images.front"
LEFT = {"observation.images.left": {"type": "VISUAL", "shape": [3, 48, 64]}}
RELATIVE = {"registry_name": "relative_actions_processor", "config": {"enabled": True}}


def edit_step(name: str, number: int, **changes: object) -> Callable[[Path], None]:
    """Return what changes the settings of one step of a processor."""
    return edit_json(name, lambda d: d["steps"][number]["config"].update(changes))


def edit_statistics(path: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change a file of statistics."""
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    edit(tensors)
    save_file(tensors, path)


REFUSED: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "statistics absent": (lambda f: (f / PREPROCESSOR).unlink(), ["preprocessor", "observation.state", "--stats"]),
    "statistics inactive": (lambda f: _to_old_format(f, float("inf")), ["model.safetensors", "infinite", "--stats"]),
    "no normalisation": (
        edit_json("config.json", lambda d: d["normalization_mapping"].update(ACTION="IDENTITY")),
        ["config.json", "normalization_mapping.ACTION", "only MEAN_STD"],
    ),
    "unknown tensor": (edit_weights(lambda w: w.update({"model.nose": torch.ones(1)})), ["model.nose"]),
    "tensor missing": (edit_weights(lambda w: w.pop("model.state_proj.bias")), ["missing state_proj.bias"]),
    "other shape": (
        edit_weights(lambda w: w.update({"model.state_proj.bias": torch.ones(3)})),
        ["state_proj.bias has shape [3]"],
    ),
    "other camera": (
        edit_json("config.json", lambda d: d["input_features"].update(LEFT)),
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
    "no weights": (lambda f: (f / "model.safetensors").unlink(), ["model.safetensors", "no such file"]),
    # F8 (b): what is done before and behind the policy was not looked at.
    "relative actions": (
        edit_json("policy_preprocessor.json", lambda d: d["steps"].insert(0, RELATIVE)),
        ["policy_preprocessor.json", "relative_actions_processor", "can't be imitated"],
    ),
    "absolute actions": (
        edit_json("policy_postprocessor.json", lambda d: d["steps"].append({"registry_name": "absolute_actions"})),
        ["policy_postprocessor.json", "absolute_actions", "can't be imitated"],
    ),
    "a step of somebody's own": (
        edit_json("policy_preprocessor.json", lambda d: d["steps"].append({"class": "mine.Blur", "config": {}})),
        ["policy_preprocessor.json", "mine.Blur"],
    ),
    "state renamed": (
        edit_step("policy_preprocessor.json", 0, rename_map={"state": "observation.state"}),
        ["rename_observations_processor", "rename_map", "others than cameras"],
    ),
    "no newline": (edit_json("policy_preprocessor.json", lambda d: d["steps"].pop(2)), ["smolvla_new_line_processor"]),
    "newline too late": (
        edit_json("policy_preprocessor.json", lambda d: d["steps"].append(d["steps"].pop(2))),
        ["policy_preprocessor.json", "behind the tokenizer"],
    ),
    "text cut elsewhere": (
        edit_step("policy_preprocessor.json", 3, max_length=8),
        ["tokenizer_processor", "max_length 8", "24"],
    ),
    "another tokenizer": (
        edit_step("policy_preprocessor.json", 3, tokenizer_name="a/b"),
        ["tokenizer_processor", "tokenizer_name 'a/b'"],
    ),
    "half precision": (edit_step("policy_preprocessor.json", 4, float_dtype="float16"), ["float_dtype 'float16'"]),
    "images normalised": (
        edit_step("policy_preprocessor.json", 5, norm_map={"VISUAL": "MEAN_STD", "STATE": "MEAN_STD"}),
        ["normalizer_processor", "norm_map.VISUAL is MEAN_STD"],
    ),
    "actions by extremes": (
        edit_step("policy_postprocessor.json", 0, norm_map={"ACTION": "MIN_MAX"}),
        ["unnormalizer_processor", "norm_map.ACTION is MIN_MAX"],
    ),
    "state left as it is": (
        edit_step("policy_preprocessor.json", 5, normalize_observation_keys=[]),
        ["normalizer_processor", "leaves observation.state as it is"],
    ),
    "half of the processors": (
        lambda f: (f / "policy_postprocessor.json").unlink(),
        ["has policy_preprocessor.json and no policy_postprocessor.json"],
    ),
    "statistics elsewhere": (
        edit_json("policy_preprocessor.json", lambda d: d["steps"][5].update(state_file="../../other.safetensors")),
        ["normalizer_processor", "state_file"],
    ),
    # F8 (c): a deviation of 0 was imported, and refused when the policy was loaded.
    "a joint that never moved": (
        lambda f: edit_statistics(f / PREPROCESSOR, lambda t: t["observation.state.std"][2].zero_()),
        ["observation.state.std of joint elbow_flex (number 2) is 0", "1e-08", "--stats"],
    ),
    # F8 (a): another size was padded or stretched without a word.
    "other training images": (
        edit_json("config.json", lambda d: d["input_features"][FRONT].update(shape=[3, 480, 640])),
        [FRONT, "640×480", "cameras.front.size is [64, 48]", "write `size: [640, 480]`", "--for-training"],
    ),
    "an unknown setting": (
        edit_json("config.json", lambda d: d.update(blur_images=3)),
        ["config.json", "['blur_images']", "take out of the file"],
    ),
    # E: each was a traceback.
    "a number as text": (edit_json("config.json", lambda d: d.update(num_vlm_layers="4")), ["num_vlm_layers", "'4'"]),
    "a feature without type": (
        edit_json("config.json", lambda d: d["input_features"][FRONT].pop("type")),
        ["config.json", "input_features.observation.images.front.type is missing"],
    ),
    "a feature without shape": (
        edit_json("config.json", lambda d: d["input_features"][FRONT].pop("shape")),
        ["config.json", "input_features.observation.images.front.shape is missing"],
    ),
    "weights behind a pointer": (
        pointer("model.safetensors"),
        ["model.safetensors", "Git LFS pointer", "git lfs pull"],
    ),
    "statistics behind a pointer": (pointer(PREPROCESSOR), [PREPROCESSOR, "Git LFS pointer", "git lfs pull"]),
    "settings behind a pointer": (pointer("config.json"), ["config.json", "Git LFS pointer", "git lfs pull"]),
    "a key twice": (
        lambda f: (f / "config.json").write_text('{"type": "smolvla", "type": "act"}'),
        ["config.json", "key 'type' stands in it twice"],
    ),
    "an adapter": (
        lambda f: (f / "adapter_config.json").write_text("{}"),
        ["adapter_config.json", "LoRA", "merge_and_unload"],
    ),
    "an adapter by its settings": (edit_json("config.json", lambda d: d.update(use_peft=True)), ["merge_and_unload"]),
    "weights of a diverged training": (
        edit_weights(lambda w: w["model.state_proj.bias"].fill_(float("nan"))),
        ["state_proj.bias hold NaN"],
    ),
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


def test_what_is_honoured_is_honoured(
    folder: Path, imported: Path, contract: Contract, tokenizer: str, tmp_path: Path
) -> None:
    """Protects imports (report F8): cameras are renamed as the steps say, their eps counts, unused ones don't."""
    edit_step("policy_preprocessor.json", 0, rename_map={"observation.images.hand": "observation.images.camera2"})(
        folder
    )
    edit_step("policy_preprocessor.json", 5, eps=0.5)(folder)
    unused = {"registry_name": "relative_actions_processor", "config": {"enabled": False}}
    edit_json("policy_preprocessor.json", lambda d: d["steps"].insert(0, unused))(folder)
    features = json.loads((folder / "config.json").read_text())["input_features"]
    renamed = {name.replace("hand", "camera2"): feature for name, feature in features.items()}
    edit_json("config.json", lambda d: d.update(input_features=renamed))(folder)
    result = import_smolvla(folder, tmp_path / "out", contract, tokenizer)
    assert result.camera_names == ("front", "wrist")
    ours, before = (json.loads((at / "stats.json").read_text()) for at in (tmp_path / "out", imported))
    for joint in contract.joint_names:
        wider = before["state"][joint]["std"] + np.radians(0.5)
        assert ours["state"][joint]["std"] == pytest.approx(wider)
        assert ours["action"][joint] == before["action"][joint]


def test_every_setting_is_accounted_for(written: Path, contract: Contract, tokenizer: str, tmp_path: Path) -> None:
    """Protects the promise of the same chunks (report F8): what is not honoured is named, and so is the step."""
    notes = " / ".join(import_smolvla(written, tmp_path / "out", contract, tokenizer).notes)
    for part in (
        "optimizer_lr",
        "n_action_steps",
        "pad_language_to",
        "policy.step_s 0.1 is right for 10 fps",
        "640×480",
    ):
        assert part in notes


def test_the_step_is_the_datasets(
    folder: Path, golden: dict[str, Any], contract: Contract, tokenizer: str, tmp_path: Path
) -> None:
    """Protects the arm's speed (report F8): a dataset of 30 fps is not played at 10."""
    statistics, info = tmp_path / "stats.json", tmp_path / "info.json"
    statistics.write_text(json.dumps(golden["statistics"]))
    info.write_text('{"fps": 30}')
    with pytest.raises(CheckpointError, match=r"fps is 30, .*step_s is 0.1.*3 times slower.*write `step_s: 0.0333`"):
        import_smolvla(folder, tmp_path / "out", contract, tokenizer, statistics=statistics)
    info.write_text('{"fps": 10}')
    notes = import_smolvla(folder, tmp_path / "out", contract, tokenizer, statistics=statistics).notes
    assert "policy.step_s 0.1 is the dataset's 10 fps" in notes


def test_a_start_for_training_is_no_policy(folder: Path, contract: Contract, tokenizer: str, tmp_path: Path) -> None:
    """Protects a pretrained start: images of another size and no statistics don't matter, and nobody runs it."""
    edit_json("config.json", lambda d: d["input_features"][FRONT].update(shape=[3, 480, 640]))(folder)
    (folder / PREPROCESSOR).unlink()
    import_smolvla(folder, tmp_path / "out", contract, tokenizer, for_training=True)
    with pytest.raises(CheckpointError, match=r"stats\.json"):
        load_policy(tmp_path / "out", contract=contract, device="cpu")


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("above", r"has no config.json; did you mean .*above/checkpoints/pretrained_model\?"),
        ("lerobot/smolvla_base", r"hf download lerobot/smolvla_base --local-dir"),
        ("empty", "has no config.json; copy the whole folder"),
    ],
)
def test_other_folders(
    written: Path, contract: Contract, tokenizer: str, tmp_path: Path, where: str, says: str, monkeypatch: Any
) -> None:
    """Protects the user's time (report E): a folder above the policy's, and an id of the hub, are told as such."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    shutil.copytree(written, tmp_path / "above/checkpoints/pretrained_model")
    with pytest.raises(CheckpointError, match=says):
        import_smolvla(Path(where), tmp_path / "out", contract, tokenizer)
    with pytest.raises(CheckpointError, match=r"is lerobot's.*swiftvla import-smolvla"):
        load_policy(written, contract=contract, device="cpu")
