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
from swiftvla_ros.files import whole_file
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
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise GeometryCheckpointError(
            f"geometry checkpoint '{folder}': lacks {missing}; train one with `swiftvla train-geometry`"
        )
    try:
        data = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if data.get("format") != FORMAT:
            raise GeometryCheckpointError(f"{folder / CONFIG}: format '{data.get('format')}' is not '{FORMAT}'")
        config = GeometryConfig.from_json(data["model"])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise GeometryCheckpointError(f"{folder / CONFIG}: {error!r}") from error
    try:
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise GeometryCheckpointError(f"{folder / WEIGHTS}: corrupt ({error}); copy it again") from error
    net = build_on_meta(config)
    try:
        net.load_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()}, assign=True)
    except RuntimeError as error:
        raise GeometryCheckpointError(f"{folder / WEIGHTS}: not the weights of {folder / CONFIG}: {error}") from error
    return net.requires_grad_(False).to(device).eval()


def build_on_meta(config: GeometryConfig) -> GeometryTransformer:
    """A network whose parameters have shapes and no memory yet: initialising a billion of them takes a minute."""
    with torch.device("meta"):
        return GeometryTransformer(config)
