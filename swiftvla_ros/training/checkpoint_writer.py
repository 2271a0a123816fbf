# SPDX-License-Identifier: Apache-2.0
"""Writes checkpoint folders: a deployable policy, or the grounding stage's backbone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from swiftvla_ros.contract import Contract
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.swiftvla import SwiftVLA
from swiftvla_ros.policy import checkpoint as files
from swiftvla_ros.policy.checkpoint import CheckpointError

# What the grounding stage trains; the action expert has seen nothing then.
GROUNDED = ("backbone.", "state_proj.", "fusion.", "trajectory_head.")


def write_policy(
    folder: Path,
    model: SwiftVLA,
    statistics: dict[str, Any],
    tokenizer: str,
    contract: Contract,
    card: str,
) -> None:
    """Write a checkpoint that :func:`swiftvla_ros.policy.load_policy` reads."""
    _write_common(folder, model.config, tokenizer, contract, card)
    (folder / files.STATS).write_text(json.dumps(statistics, indent=1) + "\n")
    _save(folder, model.state_dict(), torch.float32)


def write_grounding(folder: Path, model: SwiftVLA, tokenizer: str, contract: Contract, card: str) -> None:
    """Write the grounded backbone, in bfloat16: a start for policy training, not a policy."""
    _write_common(folder, model.config, tokenizer, contract, card)
    grounded = {k: v for k, v in model.state_dict().items() if k.startswith(GROUNDED)}
    _save(folder, grounded, torch.bfloat16)


def load_grounding(folder: Path, model: SwiftVLA) -> None:
    """Start ``model`` from a grounded backbone; every grounded tensor must be there and fit.

    Raises
    ------
    CheckpointError
        The folder lacks weights, or they are of another network.
    """
    path = folder / files.WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; make it with `swiftvla pretrain-grounding`")
    weights = {k: v.float() for k, v in load_file(path).items() if k.startswith(GROUNDED)}
    expected = {k: v.shape for k, v in model.state_dict().items() if k.startswith(GROUNDED)}
    wrong = [k for k, shape in expected.items() if k not in weights or weights[k].shape != shape]
    wrong += [k for k in weights if k not in expected]
    if wrong:
        raise CheckpointError(
            f"{path}: tensors {sorted(wrong)[:5]} don't fit this network; train it for the same preset"
        )
    model.load_state_dict(weights, strict=False)


def read_tokenizer(folder: Path) -> str:
    """The tokenizer that a checkpoint was trained with; raises :class:`CheckpointError` where there is none."""
    path = folder / files.TOKENIZER
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; make a grounded backbone with `swiftvla pretrain-grounding`")
    return path.read_text(encoding="utf-8")


def _write_common(folder: Path, config: SwiftVLAConfig, tokenizer: str, contract: Contract, card: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    description = {
        "format": files.FORMAT,
        "robot": contract.robot,
        "joint_names": contract.joint_names,
        "camera_names": contract.camera_names,
        "step_s": contract.policy.step_s,
        "action": "positions relative to the observation's state",
        "model": config.to_json(),
    }
    (folder / files.CONFIG).write_text(json.dumps(description, indent=1) + "\n")
    (folder / files.TOKENIZER).write_text(tokenizer, encoding="utf-8")
    (folder / files.CONTRACT).write_text(contract.text, encoding="utf-8")
    if contract.file.kinematics is not None:
        urdf = contract.path.parent / contract.file.kinematics.urdf
        (folder / urdf.name).write_bytes(urdf.read_bytes())
    (folder / files.CARD).write_text(card, encoding="utf-8")


def _save(folder: Path, weights: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    partial = folder / "model.partial"
    save_file({k: v.detach().cpu().to(dtype).contiguous() for k, v in weights.items()}, partial)
    partial.replace(folder / files.WEIGHTS)
