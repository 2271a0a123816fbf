# SPDX-License-Identifier: Apache-2.0
"""Normalisation statistics of a lerobot checkpoint.

They lie in ``policy_preprocessor.json`` and ``policy_postprocessor.json`` with the safetensors files that these name,
or (before lerobot 0.4) as buffers among the weights, where infinity means that they were never set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from swiftvla_ros.contract import Contract
from swiftvla_ros.policy.checkpoint import CheckpointError, read_json

_MEAN_STD = "MEAN_STD"


def vector_statistics(
    folder: Path,
    settings: dict[str, Any],
    feature: str,
    buffers: dict[str, torch.Tensor],
    given: dict[str, Any] | None,
    contract: Contract,
    order: tuple[str, ...],
) -> dict[str, dict[str, float]]:
    """Mean and width of a state or action vector by joint name, in SI units.

    ``feature`` is "observation.state" or "action"; ``buffers`` are what older checkpoints keep among their weights;
    ``given``, a dataset's ``stats.json``, is used instead of the checkpoint's own; ``order`` are the joints in the
    vector's order.

    Raises
    ------
    CheckpointError
        There are no active statistics; names the file, the key and the option that gives them.
    """
    fix = "give the training dataset's statistics: --stats DATASET/meta/stats.json"
    if given is not None:
        mean, std = (
            _vector(given.get(feature, {}).get(key), order, f"--stats: {feature}.{key}") for key in ("mean", "std")
        )
    else:
        kind = "STATE" if feature == "observation.state" else "ACTION"
        mode = settings.get("normalization_mapping", {}).get(kind, _MEAN_STD)
        if mode != _MEAN_STD:
            raise CheckpointError(
                f"{folder / 'config.json'}: normalization_mapping.{kind} is {mode}, so {feature} has no mean and std; "
                f"{fix}"
            )
        where, found = _own_statistics(folder, feature, buffers)
        if "mean" not in found or "std" not in found:
            raise CheckpointError(f"{where}: no statistics of {feature} (mean and std); {fix}")
        if not all(bool(torch.isfinite(found[key]).all()) for key in ("mean", "std")):
            raise CheckpointError(f"{where}: {feature}: mean or std is infinite: normalisation was never set; {fix}")
        mean, std = (_vector(found[key].tolist(), order, f"{where}: {feature}.{key}") for key in ("mean", "std"))
    table = {}
    for j, name in enumerate(order):
        column = contract.lerobot_joints[name]
        if column.scale < 0:
            raise CheckpointError(f"{contract.path}: joint {name}: percent_of falls; an import needs it to rise")
        table[name] = {"mean": column.scale * float(mean[j]) + column.offset, "std": column.scale * float(std[j])}
    return table


def _own_statistics(
    folder: Path, feature: str, buffers: dict[str, torch.Tensor]
) -> tuple[Path, dict[str, torch.Tensor]]:
    """The statistics that the folder itself has of a feature, and the file where they are or should be."""
    state = feature == "observation.state"
    name, step = ("policy_preprocessor", "normalizer") if state else ("policy_postprocessor", "unnormalizer")
    path = folder / f"{name}.json"
    if path.is_file():
        for entry in read_json(path).get("steps", []):
            if entry.get("registry_name") == f"{step}_processor":
                file = folder / str(entry.get("state_file"))
                if not file.is_file():
                    return path, {}
                prefix = f"{feature}."
                return file, {k[len(prefix) :]: v for k, v in load_file(file).items() if k.startswith(prefix)}
        return path, {}
    group = "normalize_inputs" if state else "unnormalize_outputs"
    prefix = f"{group}.buffer_{feature.replace('.', '_')}."
    return folder / "model.safetensors", {k[len(prefix) :]: v for k, v in buffers.items() if k.startswith(prefix)}


def _vector(values: Any, order: tuple[str, ...], where: str) -> NDArray[np.float64]:
    vector = np.asarray([] if values is None else values, np.float64).reshape(-1)
    if len(vector) != len(order) or not np.isfinite(vector).all():
        raise CheckpointError(f"{where}: expected {len(order)} finite numbers, got {values}")
    return vector
