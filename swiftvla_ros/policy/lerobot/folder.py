# SPDX-License-Identifier: Apache-2.0
"""A policy folder as LeRobot writes it: what its files say, and whether a contract's robot can be driven by it.

::

    config.json                      the policy's type, and the features that it reads and gives
    model.safetensors                weights
    policy_preprocessor*, policy_postprocessor*   what is done before and behind it: names, units, statistics
    train_config.json                (optional) which dataset it was trained on

The folder says no joint's name and no rate. Vectors are taken in the contract's order of joints, rows
``policy.step_s`` apart; where the dataset still lies where it was for training, that is held against it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.hashing import files_sha256
from swiftvla_ros.contract.sections.lerobot import ACTION, IMAGES, STATE
from swiftvla_ros.errors import in_a_sentence
from swiftvla_ros.policy.checkpoint import CONFIG, WEIGHTS, CheckpointError, ContractProblem, read_json

_BEFORE, _BEHIND, _TRAINED = "policy_preprocessor", "policy_postprocessor", "train_config.json"
# A camera that the policy has room for and the robot lacks: LeRobot fills it in itself.
_EMPTY_CAMERA = f"{IMAGES}empty_camera_"
# A dataset's frames a second are whole numbers, the contract's step is written by hand.
_STEP_TOLERANCE = 5e-3
# Of these types a policy may list what it never reads: lerobot-train lists all of a dataset's numbers, such as stamps.
# One that does read another number than the state fails at its first chunk, when it is loaded.
_LEFT_OUT = ("STATE", "LANGUAGE")


class _Feature(BaseModel):
    type: str
    shape: list[int] = Field(max_length=4)


class _Config(BaseModel):
    """What ``config.json`` says beside a type's own settings."""

    model_config = ConfigDict(strict=True)

    type: str = Field(min_length=1, max_length=100)
    input_features: dict[str, _Feature]
    output_features: dict[str, _Feature]


@dataclass(frozen=True)
class LeRobotFolder:
    """A folder whose files are there; ``inputs`` and ``outputs`` are features by the dataset's names."""

    folder: Path
    type: str  # "act", "smolvla", "diffusion" …
    sha256: str  # over all files that decide what the policy does
    inputs: dict[str, tuple[str, tuple[int, ...]]]  # name → (LeRobot's type of it, shape; images are channels first)
    outputs: dict[str, tuple[str, tuple[int, ...]]]

    def cameras(self, contract: Contract) -> dict[str, str]:
        """The contract's cameras that it reads, in the contract's order → the feature of each."""
        return {camera: name for camera, name in contract.lerobot_cameras.items() if name in self.inputs}


def is_lerobot(folder: Path | str) -> bool:
    """Whether a folder is a policy of LeRobot's: its ``config.json`` has a ``type``, and no format of ours."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        return False
    config = read_json(path)
    return "type" in config and "format" not in config


def open_lerobot(folder: Path | str) -> LeRobotFolder:
    """Read and check a folder's files (the weights for their hash alone).

    Raises
    ------
    CheckpointError
        A file is missing or can't be read, or the policy is of a type that this package computes itself.
    """
    folder = Path(folder)
    try:
        config = _Config.model_validate(read_json(folder / CONFIG))
    except ValidationError as error:
        raise CheckpointError(f"{folder / CONFIG}: {in_a_sentence(error)}; copy the whole folder again") from None
    if config.type == "swiftvla":
        raise CheckpointError(
            f"{folder / CONFIG}: is a SwiftVLA in LeRobot's layout; make it ours with "
            f"`swiftvla import-lerobot {folder} OUT`"
        )
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(f"{folder}: is an adapter (PEFT); merge it into its policy, and save that")
    missing = [name for name in (WEIGHTS, f"{_BEFORE}.json", f"{_BEHIND}.json") if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"checkpoint '{folder}': lacks {missing}; copy the whole folder `pretrained_model` that lerobot-train "
            "wrote, or make them with lerobot's migrate_policy_normalization.py, if it is an old one"
        )
    beside = sorted(
        path.name
        for path in folder.iterdir()
        if path.name.startswith((_BEFORE, _BEHIND)) and path.suffix in (".json", ".safetensors")
    )
    try:
        digest = files_sha256(folder, [CONFIG, WEIGHTS, *beside])
    except OSError as error:
        raise CheckpointError(f"{folder}: can't be read: {error}; copy it again") from error
    theirs = _renamed(folder / f"{_BEFORE}.json")
    return LeRobotFolder(
        folder,
        config.type,
        digest,
        {theirs.get(name, name): (f.type, tuple(f.shape)) for name, f in config.input_features.items()},
        {name: (f.type, tuple(f.shape)) for name, f in config.output_features.items()},
    )


def _renamed(path: Path) -> dict[str, str]:
    """The policy's name of a feature → the dataset's, where training renamed some."""
    steps = read_json(path).get("steps")
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict) and step.get("registry_name") == "rename_observations_processor":
            names = (step.get("config") or {}).get("rename_map") or {}
            return {str(own): str(dataset) for dataset, own in names.items()}
    return {}


def lerobot_problems(policy: LeRobotFolder, contract: Contract) -> Iterator[ContractProblem]:
    """Yield what keeps a policy of LeRobot's from this contract."""
    joints, path = len(contract.joint_names), contract.path
    if contract.policy.actions != "absolute":
        yield ContractProblem(
            "actions",
            f"gives positions, as LeRobot's policies do, but {path} policy.actions is '{contract.policy.actions}'; "
            "write absolute",
        )
    for name, features in ((ACTION, policy.outputs), (STATE, policy.inputs)):
        shape = features[name][1] if name in features else None
        if shape is None and name == ACTION:
            yield ContractProblem("joints", f"gives no feature '{ACTION}', but {sorted(features)}; train it on one")
        elif shape is not None and shape != (joints,):
            yield ContractProblem(
                "joints",
                f"has a feature '{name}' of shape {list(shape)}, but {path} has {joints} joints "
                f"{list(contract.joint_names)}; use the robot's own policy or contract",
            )
    cameras = {feature: camera for camera, feature in contract.lerobot_cameras.items()}
    for name, (kind, shape) in policy.inputs.items():
        if kind in _LEFT_OUT or name.startswith(_EMPTY_CAMERA):
            continue
        if kind != "VISUAL":
            yield ContractProblem("cameras", f"reads '{name}' ({kind}), which no robot here has; train it without")
        elif name not in cameras:
            yield ContractProblem(
                "cameras",
                f"reads '{name}', which is none of {sorted(cameras)} of {path}; write there which camera it is: "
                f"`lerobot: {{cameras: {{<camera>: {name}}}}}`",
            )
        else:
            width, height = contract.camera(cameras[name]).size
            if shape != (3, height, width):
                wanted = f"write [{shape[-1]}, {shape[-2]}]" if len(shape) == 3 and shape[0] == 3 else "no such camera"
                yield ContractProblem(
                    "image sizes",
                    f"reads '{name}' of shape {list(shape)} (channels, height, width), but {path} "
                    f"cameras.{cameras[name]}.size is {[width, height]}; {wanted}",
                )
    if not policy.cameras(contract):
        yield ContractProblem("cameras", "reads no camera, so that no image would start it; use one that does")
    yield from _trained_on(policy, contract)


def _trained_on(policy: LeRobotFolder, contract: Contract) -> Iterator[ContractProblem]:
    """What the dataset tells, where it still lies where it was."""
    info = _dataset_info(policy.folder)
    fps, step_s = info.get("fps"), contract.policy.step_s
    if isinstance(fps, int | float) and fps > 0 and abs(1.0 / fps / step_s - 1.0) > _STEP_TOLERANCE:
        yield ContractProblem(
            "step",
            f"was trained on {fps:g} frames a second, but {contract.path} policy.step_s is {step_s:g}: the arm would "
            f"move at another speed; write {1.0 / fps:.6g}",
        )
    action = (info.get("features") or {}).get(ACTION) if isinstance(info.get("features"), dict) else None
    names = action.get("names") if isinstance(action, dict) else None
    if isinstance(names, dict):
        names = next(iter(names.values()), None)
    if isinstance(names, list) and len(names) == len(contract.joint_names):
        known = [column.names for column in contract.lerobot_joints.values()]
        if any(name not in allowed for name, allowed in zip(names, known, strict=True)):
            yield ContractProblem(
                "joints",
                f"was trained on actions {names}, but {contract.path} has, in this order, "
                f"{[allowed[0] for allowed in known]}; name and order its joints so "
                "(`lerobot: {joints: {<joint>: {feature: …, unit: …}}}`)",
            )


def _dataset_info(folder: Path) -> dict[str, Any]:
    path = folder / _TRAINED
    dataset = read_json(path).get("dataset") if path.is_file() else None
    if not isinstance(dataset, dict):
        return {}
    home = Path(os.environ.get("HF_LEROBOT_HOME", "~/.cache/huggingface/lerobot")).expanduser()
    root = Path(str(dataset["root"])) if dataset.get("root") else home / str(dataset.get("repo_id"))
    info = root / "meta" / "info.json"
    return read_json(info) if info.is_file() else {}
