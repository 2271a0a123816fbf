# SPDX-License-Identifier: Apache-2.0
"""A geometry checkpoint: a folder of config.json, model.safetensors and card.md. Nothing in it can run code."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from swiftvla_ros.errors import UserError
from swiftvla_ros.files import read_json_object, some_of, tensor_problems, unreadable, where_else, whole_file
from swiftvla_ros.geometry.config import GeometryConfig
from swiftvla_ros.geometry.transformer import GeometryTransformer

FORMAT = "swiftvla_ros/geometry/1"
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "card.md"


class GeometryCheckpointError(UserError, ValueError):
    """A geometry checkpoint that can't be used; the message names the file, what is wrong and the fix."""


def save_geometry(net: GeometryTransformer, folder: Path | str, card: str) -> None:
    """Write a checkpoint folder, made if missing; ``card`` says what it was trained on and how well it does."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / WEIGHTS) as partial:
        save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, partial)
    write_config_and_card(folder, net.config, card)


def write_config_and_card(folder: Path, config: GeometryConfig, card: str) -> None:
    """What a checkpoint folder holds beside its weights."""
    data = {"format": FORMAT, "model": asdict(config)}
    (folder / CONFIG).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")


def load_geometry(
    folder: Path | str, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> GeometryTransformer:
    """Read a checkpoint folder for inference, weights in ``dtype``.

    Raises
    ------
    GeometryCheckpointError
        A file is missing, corrupt, of another format, or the weights are not the configuration's.
    """
    folder = Path(folder)
    config = read_config(folder)
    try:
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise GeometryCheckpointError(unreadable(folder / WEIGHTS, error, "copy it again")) from error
    net = build_on_meta(config)
    expected = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    if problems := tensor_problems(expected, {name: tuple(tensor.shape) for name, tensor in weights.items()}):
        raise GeometryCheckpointError(
            f"{folder / WEIGHTS}: not the weights of {folder / CONFIG}: {some_of(problems)}; copy both from one folder"
        )
    net.load_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()}, assign=True)
    return net.requires_grad_(False).to(device).eval()


def read_config(folder: Path) -> GeometryConfig:
    """Read a checkpoint's dimensions alone; raises GeometryCheckpointError."""
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        hint = (where_else(folder, CONFIG) if CONFIG in missing else "") or "train one with `swiftvla train-geometry`"
        raise GeometryCheckpointError(f"geometry checkpoint '{folder}': lacks {missing}; {hint}")
    try:
        data = read_json_object(folder / CONFIG)
    except (OSError, ValueError) as error:
        raise GeometryCheckpointError(unreadable(folder / CONFIG, error, "copy it again")) from error
    if data.get("format") != FORMAT:
        raise GeometryCheckpointError(
            f"{folder / CONFIG}: format '{data.get('format')}' is not '{FORMAT}'; name a geometry checkpoint, as "
            "`swiftvla train-geometry` writes it"
        )
    try:
        return GeometryConfig.from_json(data.get("model"))
    except ValueError as error:
        raise GeometryCheckpointError(f"{folder / CONFIG}: model: {error}; copy it again, or train it again") from error


def build_on_meta(config: GeometryConfig) -> GeometryTransformer:
    """A network whose parameters have shapes and no memory yet: initialising a billion of them takes a minute."""
    with torch.device("meta"):
        return GeometryTransformer(config)
