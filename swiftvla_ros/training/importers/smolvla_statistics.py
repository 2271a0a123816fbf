# SPDX-License-Identifier: Apache-2.0
"""Normalisation statistics of a lerobot checkpoint.

They lie in the safetensors files that its two processors name, or (before lerobot 0.4) as buffers among the weights,
where infinity means that they were never set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.sections.lerobot import ACTION, STATE
from swiftvla_ros.files import unreadable
from swiftvla_ros.policy.checkpoint import CheckpointError
from swiftvla_ros.policy.normalization import SMALLEST_STD
from swiftvla_ros.training.importers.smolvla_processors import Processors

FEATURES = {"state": STATE, "action": ACTION}
_FIX = "give the training dataset's statistics: --stats DATASET/meta/stats.json"


def vector_statistics(
    folder: Path,
    what: str,
    processors: Processors,
    buffers: dict[str, torch.Tensor],
    given: dict[str, Any] | None,
    contract: Contract,
    order: tuple[str, ...],
) -> dict[str, dict[str, float]]:
    """Mean and width of a state or action vector by joint name, in SI units.

    ``what`` is "state" or "action"; ``buffers`` are what older checkpoints keep among their weights; ``given``, a
    dataset's ``stats.json``, is used instead of the checkpoint's own; ``order`` are the joints in the vector's order.

    Raises
    ------
    CheckpointError
        There are no active statistics, or a joint has no width; names the file, the key, the joint and the fix.
    """
    feature = FEATURES[what]
    if given is not None:
        table = given.get(feature)
        where, found = "--stats", dict(table) if isinstance(table, dict) else {}
    else:
        where, found = _own_statistics(folder, what, processors, buffers)
    if "mean" not in found or "std" not in found:
        raise CheckpointError(f"{where}: no statistics of {feature} (mean and std); {_FIX}")
    mean, std = (_vector(found[key], order, f"{where}: {feature}.{key}") for key in ("mean", "std"))
    # lerobot adds it where it divides, which it does with the state alone.
    eps = processors.eps if what == "state" else 0.0
    rows = {}
    for j, name in enumerate(order):
        column = contract.lerobot_joints[name]
        if column.scale < 0:
            raise CheckpointError(f"{contract.path}: joint {name}: percent_of falls; an import needs it to rise")
        if not column.scale * std[j] >= SMALLEST_STD:
            raise CheckpointError(
                f"{where}: {feature}.std of joint {name} (number {j}) is {std[j]:g}: it never moved in the training "
                f"data. lerobot divides by {std[j]:g} + {processors.eps:g} there, so the smallest motion would drown "
                "all else; give statistics of demonstrations that move it (--stats DATASET/meta/stats.json), or train "
                "a policy with them"
            )
        rows[name] = {
            "mean": column.scale * float(mean[j]) + column.offset,
            "std": column.scale * (float(std[j]) + eps),
        }
    return rows


def _own_statistics(
    folder: Path, what: str, processors: Processors, buffers: dict[str, torch.Tensor]
) -> tuple[str, dict[str, Any]]:
    """The statistics that the folder itself has of a vector, and the file where they are or should be."""
    if processors.files is not None:
        path, prefix = processors.files[what], f"{FEATURES[what]}."
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                unreadable(path, error, f"it has the statistics of {FEATURES[what]}: copy it again, or {_FIX}")
            ) from error
    else:
        group = "normalize_inputs" if what == "state" else "unnormalize_outputs"
        path, prefix = folder / "model.safetensors", f"{group}.buffer_{FEATURES[what].replace('.', '_')}."
        tensors = buffers
    found = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    return str(path), {name: value.double().flatten().tolist() for name, value in found.items()}


def _vector(values: Any, order: tuple[str, ...], where: str) -> NDArray[np.float64]:
    try:
        vector = np.asarray(values, np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        vector = np.zeros(0)
    if len(vector) == len(order) and np.isinf(vector).all():
        raise CheckpointError(f"{where}: is infinite: normalisation was never set; {_FIX}")
    if len(vector) != len(order) or not np.isfinite(vector).all():
        raise CheckpointError(f"{where}: expected {len(order)} finite numbers, got {str(values)[:200]}; {_FIX}")
    return vector
