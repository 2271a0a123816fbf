# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as folders that LeRobot loads with ``lerobot_policy_swiftvla``, and back.

Such a folder holds ``config.json``, ``model.safetensors`` (``model.policy.*`` is the network, ``model.auxiliary.*``
what only training needs), and what is done before and behind the policy. Its vectors are in the dataset's units, which
the contract's ``lerobot:`` section names; statistics are converted. Needs no LeRobot.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.contract.action_coding import RELATIVE, ActionCoding
from swiftvla_ros.contract.sections.lerobot import ACTION, STATE
from swiftvla_ros.contract.store import store_contract
from swiftvla_ros.errors import in_a_sentence
from swiftvla_ros.files import some_of, tensor_problems, unreadable, whole_file
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.objective import Auxiliary, Objective
from swiftvla_ros.model.swiftvla import SwiftVLA
from swiftvla_ros.policy import checkpoint as files
from swiftvla_ros.policy.checkpoint import CheckpointError, check_against_contract, open_checkpoint, read_json
from swiftvla_ros.policy.image_preprocessing import EXACT
from swiftvla_ros.training.checkpoint_writer import read_tokenizer, write_policy

TYPE, TOKENIZER_STEP = "swiftvla", "swiftvla_tokenizer"
_POLICY, _AUXILIARY = "model.policy.", "model.auxiliary."
_BEFORE, _BEHIND = "policy_preprocessor", "policy_postprocessor"
_TOKENIZER_FILE = f"{_BEFORE}_step_2_{TOKENIZER_STEP}.safetensors"
_IDENTITY = dict.fromkeys(("VISUAL", "STATE", "ACTION"), "IDENTITY")
_AGAIN = "copy the whole folder again"
# Of a dataset's frames a second, which the contract may write rounded.
_STEP_TOLERANCE = 5e-3

JointStatistics = dict[str, dict[str, dict[str, float]]]


class _Settings(BaseModel):
    """What ``config.json`` tells beside LeRobot's own keys."""

    model_config = ConfigDict(strict=True)

    network: dict[str, Any]
    input_features: dict[str, dict[str, Any]]
    action_kind: str
    image_fit: str
    step_s: float = Field(gt=0, le=60)
    cameras: list[str] = Field(min_length=1)
    joint_names: list[str] = Field(min_length=1)
    statistics: JointStatistics


class _Line(NamedTuple):
    """A joint's SI = scale · dataset + offset."""

    scale: float
    offset: float


def text_tensor(text: str) -> torch.Tensor:
    """A text as bytes: a processor step's state is made of tensors."""
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def text_of_tensor(tensor: torch.Tensor) -> str:
    """The inverse of :func:`text_tensor`."""
    return tensor.cpu().numpy().tobytes().decode()


def export_policy(folder: Path, out: Path) -> None:
    """Write a checkpoint of ours as a folder that LeRobot loads; the contract lies beside it, for the way back.

    Raises
    ------
    CheckpointError
        ``out`` exists, the checkpoint has no weights, or a joint runs the other way in the dataset's unit.
    """
    if out.exists():
        raise CheckpointError(f"{out}: exists already; choose another folder")
    checkpoint = open_checkpoint(folder)
    contract = load_contract(folder / files.CONTRACT)
    if contract.hand is not None:
        raise CheckpointError(f"{folder}: moves a hand by Cartesian steps, and LeRobot's form of ours has joints alone")
    weights = {_POLICY + name: value for name, value in _load(checkpoint.weights).items()}
    if checkpoint.auxiliary.is_file():
        weights |= {_AUXILIARY + name: value for name, value in _load(checkpoint.auxiliary).items()}
    network, geometry = checkpoint.model, checkpoint.model.geometry
    weights["steps"] = torch.zeros((), dtype=torch.int64)
    weights["standardized"] = torch.tensor(geometry is not None)
    joints, order = contract.lerobot_joints, checkpoint.joint_names
    lines = {name: _Line(joints[name].scale, joints[name].offset) for name in order}
    coding = ActionCoding.of(contract, checkpoint.action_kind)
    grippers, continuous = (
        [k for k, name in enumerate(order) if contract.joint_names.index(name) in columns]
        for columns in (coding.grippers, coding.continuous)
    )
    _check_lines(contract, lines, [order[k] for k in continuous])
    names = {name: joints[name].names[0] for name in order}
    statistics = read_json(folder / files.STATS)
    offsets = _action_offsets(checkpoint.action_kind, order, grippers, lines)
    cameras = [contract.lerobot_cameras[name] for name in checkpoint.camera_names]
    images = {
        feature: {"type": "VISUAL", "shape": [3, *reversed(contract.camera(name).size)]}
        for feature, name in zip(cameras, checkpoint.camera_names, strict=True)
    }
    state = {"type": "STATE", "shape": [len(order)]}
    action = {"type": "ACTION", "shape": [len(order)]}
    config = {
        "type": TYPE,
        "input_features": {**images, STATE: state},
        "output_features": {ACTION: action},
        "init": "",
        "started": True,
        "stage": 1 if geometry is None else 2,
        **({} if geometry is None else _masks(network)),
        "network": asdict(network),
        "action_kind": checkpoint.action_kind,
        "image_fit": checkpoint.image_fit,
        "step_s": checkpoint.step_s,
        "cameras": cameras,
        "joint_names": [names[name] for name in order],
        "grippers": grippers,
        "continuous": continuous,
        "statistics": {
            "state": {names[n]: _to_dataset(statistics["state"][n], lines[n]) for n in order},
            "action": {
                names[n]: _to_dataset(statistics["action"][n], _Line(lines[n].scale, offsets[n])) for n in order
            },
        },
    }
    out.mkdir(parents=True)
    _write_json(out / files.CONFIG, config)
    floats = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    _save(out / files.WEIGHTS, floats)
    _save(out / _TOKENIZER_FILE, {"tokenizer": text_tensor(read_tokenizer(folder))})
    _write_json(out / f"{_BEFORE}.json", _before({**images, STATE: state, ACTION: action}, network.text.max_tokens))
    _write_json(out / f"{_BEHIND}.json", _behind({ACTION: action}))
    store_contract(contract, out / files.CONTRACT)
    card = folder / files.CARD
    (out / "README.md").write_text(card.read_text(encoding="utf-8") if card.is_file() else "", encoding="utf-8")


def import_policy(folder: Path, out: Path, contract: Contract | None = None) -> SwiftVLAConfig:
    """Write a folder of LeRobot's as a checkpoint that computes the same chunks.

    ``contract`` is the robot; None: the one that lies in the folder, if :func:`export_policy` wrote it.

    Raises
    ------
    CheckpointError
        Names the file and the key, tensor, joint or camera that doesn't fit, and the fix.
    """
    if out.exists():
        raise CheckpointError(f"{out}: exists already; choose another folder")
    path = folder / files.CONFIG
    data = read_json(path)
    if data.get("type") != TYPE:
        raise CheckpointError(
            f"{path}: is of a policy of type '{data.get('type')}', not '{TYPE}'; SmolVLA's are imported with "
            "`swiftvla import-smolvla`"
        )
    try:
        settings = _Settings.model_validate(data)
    except ValidationError as error:
        raise CheckpointError(f"{path}: {in_a_sentence(error)}; {_AGAIN}") from None
    if contract is None:
        if not (folder / files.CONTRACT).is_file():
            raise CheckpointError(f"{folder}: nothing here says which robot it is; name its contract with --robot")
        contract = load_contract(folder / files.CONTRACT)
    network = files.network_config({"model": settings.network}, path)
    objective = _filled(folder / files.WEIGHTS, network)
    joints = _joints(path, settings, contract)
    cameras = _cameras(path, settings, contract)
    _check_step(path, settings, contract)
    statistics = _si_statistics(path, settings, contract, joints)
    write_policy(
        out,
        objective.policy,
        statistics,
        _tokenizer(folder),
        contract,
        f"# Imported from LeRobot: {folder.resolve().name}\n",
        objective.auxiliary if objective.auxiliary.state_dict() else None,
        {
            "joint_names": list(joints.values()),
            "camera_names": cameras,
            "action": files.ACTION_KEYS.get(settings.action_kind, settings.action_kind),
            **({} if settings.image_fit == EXACT else {"image_fit": settings.image_fit}),
        },
    )
    check_against_contract(open_checkpoint(out), contract)
    return network


def _save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with whole_file(path) as partial:
        save_file(tensors, partial)


def _load(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(unreadable(path, error, _AGAIN)) from error


def _filled(path: Path, network: SwiftVLAConfig) -> Objective:
    """Network and auxiliary modules with a folder's weights; where it has none of the latter, without them."""
    tensors = _load(path)
    parts = {
        prefix: {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        for prefix in (_POLICY, _AUXILIARY)
    }
    objective = Objective(SwiftVLA(network), Auxiliary(network))
    if not parts[_AUXILIARY]:
        objective.auxiliary = Auxiliary(replace(network, fusion=None, geometry=None))
    for prefix, module in ((_POLICY, objective.policy), (_AUXILIARY, objective.auxiliary)):
        expected = {prefix + name: tuple(value.shape) for name, value in module.state_dict().items()}
        found = {prefix + name: tuple(value.shape) for name, value in parts[prefix].items()}
        if problems := tensor_problems(expected, found):
            raise CheckpointError(f"{path}: {some_of(problems)}; {_AGAIN}")
        module.load_state_dict(parts[prefix])
    return objective


def _joints(path: Path, settings: _Settings, contract: Contract) -> dict[str, str]:
    """The dataset's name of each entry of the vectors → the contract's joint, in the network's order."""
    known = {name: joint for joint, column in contract.lerobot_joints.items() for name in column.names}
    if sorted(known.get(name, "") for name in settings.joint_names) != sorted(contract.joint_names):
        raise CheckpointError(
            f"{path}: joint_names {settings.joint_names} are not the joints {list(contract.joint_names)} of "
            f"{contract.path}; write there what each is called: "
            "`lerobot: {joints: {<joint>: {feature: …, unit: …}}}`"
        )
    return {name: known[name] for name in settings.joint_names}


def _cameras(path: Path, settings: _Settings, contract: Contract) -> list[str]:
    of_feature = {feature: name for name, feature in contract.lerobot_cameras.items()}
    for feature in settings.cameras:
        if feature not in of_feature:
            raise CheckpointError(
                f"{path}: cameras: '{feature}' is none of {sorted(of_feature)} of {contract.path}; write there which "
                f"camera it is: `lerobot: {{cameras: {{<camera>: {feature}}}}}`"
            )
        shape = list(settings.input_features.get(feature, {}).get("shape", []))[-2:]
        size = contract.camera(of_feature[feature]).size
        if shape != [size[1], size[0]]:
            raise CheckpointError(
                f"{path}: input_features.{feature} has images of shape {shape} (height, width), but {contract.path} "
                f"cameras.{of_feature[feature]}.size is {list(size)}; write `size: {shape[::-1]}` there"
            )
    return [of_feature[feature] for feature in settings.cameras]


def _check_step(path: Path, settings: _Settings, contract: Contract) -> None:
    step_s = contract.policy.step_s
    if abs(settings.step_s / step_s - 1) > _STEP_TOLERANCE:
        raise CheckpointError(
            f"{path}: step_s is {settings.step_s:g}, one frame of its dataset, but {contract.path} policy.step_s is "
            f"{step_s:g}: the arm would move at another speed; write `step_s: {settings.step_s:.6g}` there"
        )


def _si_statistics(path: Path, settings: _Settings, contract: Contract, joints: Mapping[str, str]) -> JointStatistics:
    columns = contract.lerobot_joints
    lines = {joint: _Line(columns[joint].scale, columns[joint].offset) for joint in joints.values()}
    coding = ActionCoding.of(contract, settings.action_kind)
    order = tuple(joints.values())
    continuous = [contract.joint_names[k] for k in coding.continuous]
    _check_lines(contract, lines, continuous)
    grippers = [k for k, name in enumerate(order) if contract.joint_names.index(name) in coding.grippers]
    offsets = _action_offsets(settings.action_kind, order, grippers, lines)
    try:
        state, action = settings.statistics["state"], settings.statistics["action"]
        return {
            "state": {joint: _to_si(state[name], lines[joint]) for name, joint in joints.items()},
            "action": {
                joint: _to_si(action[name], _Line(lines[joint].scale, offsets[joint])) for name, joint in joints.items()
            },
        }
    except KeyError as error:
        raise CheckpointError(f"{path}: statistics lack {error}; {_AGAIN}") from error


def _check_lines(contract: Contract, lines: Mapping[str, _Line], continuous: list[str]) -> None:
    for joint, line in lines.items():
        if line.scale < 0 or (joint in continuous and line != _Line(1.0, 0.0)):
            why = "runs the other way there" if line.scale < 0 else "turns without end, and not in rad there"
            raise CheckpointError(
                f"{contract.path}: lerobot.joints.{joint}: {why}, so that its numbers can't be converted; write "
                "`unit: rad`, and export the dataset again"
            )


def _action_offsets(
    kind: str, order: tuple[str, ...], grippers: list[int], lines: Mapping[str, _Line]
) -> dict[str, float]:
    """Offsets of the units of the network's rows: steps and relative positions have none."""
    positions = range(len(order)) if kind == "absolute" else [] if kind == RELATIVE else grippers
    return {name: lines[name].offset if k in positions else 0.0 for k, name in enumerate(order)}


def _to_dataset(row: Mapping[str, float], line: _Line) -> dict[str, float]:
    return {
        key: value / line.scale if key == "std" else (value - line.offset) / line.scale for key, value in row.items()
    }


def _to_si(row: Mapping[str, float], line: _Line) -> dict[str, float]:
    return {key: value * line.scale if key == "std" else value * line.scale + line.offset for key, value in row.items()}


def _masks(network: SwiftVLAConfig) -> dict[str, Any]:
    geometry = network.geometry
    assert geometry is not None
    return {
        "mask_4d": geometry.p_mask_4d,
        "mask_2d": geometry.p_mask_2d,
        "mask_2d_ramp_steps": geometry.mask_2d_ramp_steps,
        "reconstruct": geometry.reconstruct,
    }


def _tokenizer(folder: Path) -> str:
    """The tokenizer, from whichever file of the preprocessor's has it."""
    steps = read_json(folder / f"{_BEFORE}.json").get("steps", [])
    found = [step.get("state_file") for step in steps if step.get("registry_name") == TOKENIZER_STEP]
    if not found or not isinstance(found[0], str):
        raise CheckpointError(f"{folder / _BEFORE}.json: has no step {TOKENIZER_STEP} with its state; {_AGAIN}")
    return text_of_tensor(_load(folder / Path(found[0]).name)["tokenizer"])


def _before(features: dict[str, Any], max_tokens: int) -> dict[str, Any]:
    return {
        "name": _BEFORE,
        "steps": [
            {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
            {"registry_name": "to_batch_processor", "config": {}},
            {"registry_name": TOKENIZER_STEP, "config": {"max_tokens": max_tokens}, "state_file": _TOKENIZER_FILE},
            {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}},
            {"registry_name": "normalizer_processor", "config": _normalizer(features)},
        ],
    }


def _behind(features: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": _BEHIND,
        "steps": [
            {"registry_name": "unnormalizer_processor", "config": _normalizer(features)},
            {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}},
        ],
    }


def _normalizer(features: dict[str, Any]) -> dict[str, Any]:
    return {"eps": 1e-8, "features": features, "norm_map": _IDENTITY}


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
