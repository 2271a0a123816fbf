# SPDX-License-Identifier: Apache-2.0
"""Normalisation by joint name; a statistic that is missing, zero-width or unused is an error, never skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.errors import UserError

Array = NDArray[np.float64]
# What is used; training also writes min, max and quantiles, for reading.
_NEEDED = ("mean", "std")

# A joint that moved less than this in all of the data (rad or m) can't be normalised by its spread.
SMALLEST_STD = 1e-6
# Beyond this no arm's positions lie (rad or m), and float32 still computes with it.
_LARGEST = 1e9


class StatisticsError(UserError, ValueError):
    """Statistics that can't be used; the message names the joint, what is wrong and the fix."""


@dataclass(frozen=True)
class Normalizer:
    """(x − mean) / std per joint, in the contract's order."""

    mean: Array
    std: Array

    @classmethod
    def from_statistics(cls, statistics: dict[str, Any], what: str, joint_names: Sequence[str]) -> Normalizer:
        """Read the statistics of ``what`` ("state" or "action"): ``{joint: {mean, std, …}}``.

        Raises
        ------
        StatisticsError
            A joint or statistic is missing, has zero width or is not finite, or one stands there that no joint uses.
        """
        table = statistics.get(what)
        if not isinstance(table, dict):
            raise StatisticsError(f"statistics of '{what}' are missing; train writes them, so use its whole folder")
        unused = sorted(set(table) - set(joint_names))
        if unused:
            raise StatisticsError(
                f"'{what}' has statistics of {unused}, which are no joints of the policy {list(joint_names)}"
            )
        mean, std = [], []
        for name in joint_names:
            row = table.get(name)
            if not isinstance(row, dict) or any(key not in row for key in _NEEDED):
                raise StatisticsError(f"'{what}' lacks statistics of joint '{name}' ({', '.join(_NEEDED)})")
            if not all(isinstance(value, int | float) and abs(value) < _LARGEST for value in row.values()):
                raise StatisticsError(f"'{what}' statistics of joint '{name}' are not finite numbers: {row}")
            if row["std"] < SMALLEST_STD:
                raise StatisticsError(
                    f"'{what}' statistics of joint '{name}' have zero width (std {row['std']}): the joint never moved "
                    "in the data; record demonstrations that move it, or leave it out of the contract"
                )
            mean.append(row["mean"])
            std.append(row["std"])
        return cls(np.array(mean), np.array(std))

    def normalize(self, x: NDArray[np.floating[Any]]) -> Array:
        """SI [..., J] → zero mean, unit width."""
        return (x - self.mean) / self.std

    def denormalize(self, x: NDArray[np.floating[Any]]) -> Array:
        """The inverse of :meth:`normalize`."""
        return x * self.std + self.mean


def compute_statistics(values: NDArray[np.floating[Any]], joint_names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Statistics of samples [N, J] by joint name, SI units."""
    x = np.asarray(values, dtype=np.float64)
    rows = {
        "mean": x.mean(axis=0),
        "std": x.std(axis=0),
        "min": x.min(axis=0),
        "max": x.max(axis=0),
        "q01": np.quantile(x, 0.01, axis=0),
        "q99": np.quantile(x, 0.99, axis=0),
    }
    return {name: {key: float(row[j]) for key, row in rows.items()} for j, name in enumerate(joint_names)}
