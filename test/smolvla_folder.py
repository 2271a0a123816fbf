# SPDX-License-Identifier: Apache-2.0
"""Folders as lerobot's SmolVLA writes them: names, weights that are made from names, and ways to change them."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from spoiled import edit_json, edit_weights

VOCABULARY = 6144
PREPROCESSOR = "policy_preprocessor_step_5_normalizer_processor.safetensors"
POSTPROCESSOR = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"


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


def edit_step(name: str, number: int, **changes: object) -> Callable[[Path], None]:
    """Return what changes the settings of one step of a processor."""
    return edit_json(name, lambda d: d["steps"][number]["config"].update(changes))


def edit_statistics(path: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change a file of statistics."""
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    edit(tensors)
    save_file(tensors, path)


def to_old_format(folder: Path, value: float | None = None) -> None:
    """Put the statistics where older lerobots had them: into the weights; all of them ``value`` where one is given."""
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
