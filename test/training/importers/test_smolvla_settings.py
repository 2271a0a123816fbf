# SPDX-License-Identifier: Apache-2.0
"""SmolVLA folders that can't be imported, and settings that are honoured or named."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from smolvla_folder import PREPROCESSOR, edit_statistics, edit_step, to_old_format
from spoiled import edit_json, edit_weights, pointer

from swiftvla_ros.contract import Contract
from swiftvla_ros.policy import CheckpointError, load_policy
from swiftvla_ros.training.importers.smolvla import import_smolvla

FRONT = "observation.images.front"
LEFT = {"observation.images.left": {"type": "VISUAL", "shape": [3, 48, 64]}}
RELATIVE = {"registry_name": "relative_actions_processor", "config": {"enabled": True}}

REFUSED: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "statistics absent": (lambda f: (f / PREPROCESSOR).unlink(), ["preprocessor", "observation.state", "--stats"]),
    "statistics inactive": (lambda f: to_old_format(f, float("inf")), ["model.safetensors", "infinite", "--stats"]),
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


def test_what_a_machine_without_lerobot_can_do(written: Path, contract: Contract) -> None:
    """Protects whoever runs LeRobot's folder as it is: what is lacking is told, and the command that makes it ours."""
    with pytest.raises(CheckpointError, match=r"lacks lerobot.*make it ours: `swiftvla import-smolvla"):
        load_policy(written, contract=contract, device="cpu")
