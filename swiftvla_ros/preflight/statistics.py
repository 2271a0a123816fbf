# SPDX-License-Identifier: Apache-2.0
"""Rows of a checkpoint's statistics: there, active, of this robot's units, and undone by their inverse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.policy.checkpoint import STATS
from swiftvla_ros.policy.normalization import Normalizer
from swiftvla_ros.preflight.facts import CheckpointFolder
from swiftvla_ros.preflight.row import Row

# What may come back of a unit vector (rad or m) through the network's float32.
_EXACT = 1e-3
_INACTIVE = 1e-6
_TRAIN = "train again on the data, or copy the checkpoint's own stats.json"
# Beyond two turns no joint of an arm stands (contract/schema.py).
_MOST_TURNS_RAD = 4 * np.pi


def check_statistics(found: CheckpointFolder, contract: Contract) -> Iterator[Row]:
    """Judge the statistics of states and actions, a row each."""
    checkpoint = found.checkpoint
    assert checkpoint is not None
    for what, normalizer in (("state", checkpoint.state), ("action", checkpoint.action)):
        table = found.statistics.get(what, {})
        names = checkpoint.joint_names
        problem = (
            _inactive(normalizer)
            or _not_undone(normalizer, names)
            or _inconsistent(table, names)
            or (_other_unit(table, contract) if what == "state" else "")
        )
        name = f"{what} statistics"
        if problem:
            yield Row(name, "fail", f"{STATS}: {problem}", _TRAIN)
        else:
            width = normalizer.std
            finding = f"{len(names)} joints, widths {width.min():.3g} to {width.max():.3g}; a unit vector comes back"
            yield Row(name, "ok", finding)


def _inactive(normalizer: Normalizer) -> str:
    """Mean 0 and width 1 for every joint: nothing is normalised, and the network gets what it never saw."""
    if np.abs(normalizer.mean).max() < _INACTIVE and np.abs(normalizer.std - 1).max() < _INACTIVE:
        return "mean 0 and std 1 of every joint: they change nothing, so they were never computed"
    return ""


def _not_undone(normalizer: Normalizer, names: tuple[str, ...]) -> str:
    """Each joint's unit vector there and back, in the network's precision."""
    units: NDArray[np.float64] = np.eye(len(names))
    there = normalizer.normalize(units).astype(np.float32)
    lost = np.abs(normalizer.denormalize(there.astype(np.float64)) - units).max(axis=0)
    joint = int(lost.argmax())
    if not lost[joint] <= _EXACT:
        return (
            f"a unit vector of '{names[joint]}' comes back {lost[joint]:.3g} off (mean {normalizer.mean[joint]:.3g}, "
            f"std {normalizer.std[joint]:.3g})"
        )
    return ""


def _inconsistent(table: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """A mean outside the samples, or a width that they can't have: one of the two is of other data."""
    for name in names:
        row = table[name]
        if "min" not in row or "max" not in row:
            continue  # imported from another project
        low, high = row["min"], row["max"]
        slack = _EXACT + 1e-6 * (abs(low) + abs(high))
        if not low - slack <= row["mean"] <= high + slack or row["std"] > (high - low) / 2 + slack:
            return (
                f"'{name}' has mean {row['mean']:.4g} and std {row['std']:.4g}, and samples from {low:.4g} to "
                f"{high:.4g}: they are not of the same data"
            )
    return ""


def _other_unit(table: Mapping[str, Any], contract: Contract) -> str:
    """Angles of more than two turns: the data were in degrees."""
    for joint in contract.joints:
        row = table.get(joint.name, {})
        if joint.unit in ("m", "mm") or joint.continuous or "q99" not in row:
            continue
        largest = max(abs(row["q01"]), abs(row["q99"]))
        if largest > _MOST_TURNS_RAD:
            return f"'{joint.name}' was at {largest:.4g} rad in training: the data were in degrees"
    return ""
