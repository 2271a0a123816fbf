# SPDX-License-Identifier: Apache-2.0
"""Writes checkpoint folders (a deployable policy, or the grounding stage's backbone), and reads them as a start.

``model.safetensors`` holds what is deployed and nothing else. What only training needs lies beside it in
``auxiliary.safetensors``: the trajectory head, the 4D branch and the reconstruction heads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from swiftvla_ros.contract import ActionCoding, Contract
from swiftvla_ros.contract.store import store_contract
from swiftvla_ros.files import some_of, tensor_problems, unreadable, whole_file
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.objective import Auxiliary, Objective
from swiftvla_ros.model.swiftvla import SwiftVLA
from swiftvla_ros.policy import checkpoint as files
from swiftvla_ros.policy.checkpoint import CheckpointError

# What the grounding stage trains; the action expert has seen nothing then.
GROUNDED = ("backbone.", "state_proj.", "fusion.")
_OF_THE_ROBOT = ("state_proj", "action_out_proj", "expert.action_in_proj")


def write_policy(
    folder: Path,
    model: SwiftVLA,
    statistics: dict[str, Any],
    tokenizer: str,
    contract: Contract,
    card: str,
    auxiliary: Auxiliary | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint that :func:`swiftvla_ros.policy.load_policy` reads; ``extra`` adds keys to ``config.json``."""
    write_description(folder, model.config, tokenizer, contract, card, extra)
    (folder / files.STATS).write_text(json.dumps(statistics, indent=1) + "\n")
    _save(folder / files.WEIGHTS, model, torch.float32)
    if auxiliary is not None:
        _save(folder / files.AUXILIARY, auxiliary, torch.float32)


def write_grounding(folder: Path, objective: Objective, tokenizer: str, contract: Contract, card: str) -> None:
    """Write the grounded backbone and its trajectory head, in bfloat16: a start for policy training, not a policy."""
    policy = objective.policy
    write_description(folder, policy.config, tokenizer, contract, card)
    _save(folder / files.WEIGHTS, policy, torch.bfloat16, lambda name: name.startswith(GROUNDED))
    _save(folder / files.AUXILIARY, objective.auxiliary, torch.bfloat16)


def read_config(folder: Path) -> SwiftVLAConfig:
    """The network that a checkpoint holds; CheckpointError where there is none, or none of this version."""
    path = folder / files.CONFIG
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; make a grounded backbone with `swiftvla pretrain-grounding`")
    return files.network_config(files.read_json(path), path)


def load_start(folder: Path, objective: Objective) -> tuple[str, ...]:
    """Start a network from a checkpoint: grounded, imported, or an earlier stage's.

    Returns
    -------
    tuple[str, ...]
        Parts that the checkpoint lacks altogether, and which keep their random weights: the action expert after
        grounding, the Fusion Tokens of a SmolVLA, the 4D branch after stage 1, what reads the state of a robot of
        another number of joints, and reads and writes the actions of one of another number of those.

    Raises
    ------
    CheckpointError
        Weights are missing, or a part is there but doesn't fit.
    """
    if not (folder / files.WEIGHTS).is_file():
        raise CheckpointError(
            f"{folder / files.WEIGHTS}: missing; make a grounded backbone with `swiftvla pretrain-grounding`"
        )
    new = _fill(folder / files.WEIGHTS, objective.policy)
    if (folder / files.AUXILIARY).is_file():
        return *new, *_fill(folder / files.AUXILIARY, objective.auxiliary)
    return *new, *_parts(objective.auxiliary.state_dict())


def read_tokenizer(folder: Path) -> str:
    """The tokenizer that a checkpoint was trained with; raises :class:`CheckpointError` where there is none."""
    path = folder / files.TOKENIZER
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; make a grounded backbone with `swiftvla pretrain-grounding`")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise CheckpointError(unreadable(path, error, "copy it again, or train it again")) from error


def _parts(names: dict[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.partition(".")[0] for name in names))


def _fill(path: Path, module: nn.Module) -> tuple[str, ...]:
    """Fill a module's parts from a file, and return the parts that the file lacks."""
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(unreadable(path, error, "copy it again, or train it again")) from error
    expected = module.state_dict()
    # A robot of more or fewer joints, or of other actions: what reads and writes them is learnt anew.
    anew = tuple(
        f"{layer}."
        for layer in _OF_THE_ROBOT
        if (weight := f"{layer}.weight") in weights
        and weight in expected
        and weights[weight].shape != expected[weight].shape
    )
    weights = {name: value for name, value in weights.items() if not name.startswith(anew)}
    there, own = set(_parts(weights)), _parts(expected)
    # What this network has no part for (a 4D branch that is left out now) is left behind, and what it has a part for
    # that the file lacks keeps its random weights.
    weights = {name: value for name, value in weights.items() if name.partition(".")[0] in own}
    needed = {
        name: tuple(value.shape)
        for name, value in expected.items()
        if name.partition(".")[0] in there and not name.startswith(anew)
    }
    if wrong := tensor_problems(needed, {name: tuple(value.shape) for name, value in weights.items()}):
        raise CheckpointError(f"{path}: {some_of(wrong)}; start from a checkpoint of the same preset")
    module.load_state_dict({**expected, **{name: value.float() for name, value in weights.items()}})
    parts = tuple(part for part in own if part not in there)
    return *parts, *(layer for name in anew if (layer := name.removesuffix(".")).partition(".")[0] not in parts)


def write_description(
    folder: Path,
    config: SwiftVLAConfig,
    tokenizer: str,
    contract: Contract,
    card: str,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write all but weights and statistics; ``extra`` adds keys to ``config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    description = {
        "format": files.FORMAT,
        "robot": contract.robot,
        "joint_names": contract.joint_names,
        **({} if contract.hand is None else {"action_names": contract.action_names}),
        "camera_names": contract.camera_names,
        "step_s": contract.policy.step_s,
        "action": files.ACTION_KEYS[ActionCoding.of(contract).kind],
        "model": asdict(config),
        **(extra or {}),
    }
    (folder / files.CONFIG).write_text(json.dumps(description, indent=1) + "\n")
    (folder / files.TOKENIZER).write_text(tokenizer, encoding="utf-8")
    store_contract(contract, folder / files.CONTRACT)
    (folder / files.CARD).write_text(card, encoding="utf-8")


def _save(path: Path, module: nn.Module, dtype: torch.dtype, wanted: Callable[[str], bool] = lambda _: True) -> None:
    weights = module.state_dict().items()
    with whole_file(path) as partial:
        save_file({k: v.detach().cpu().to(dtype).contiguous() for k, v in weights if wanted(k)}, partial)
