# SPDX-License-Identifier: Apache-2.0
"""Statistics of a LeRobotDataset v3: per episode and feature, and those of all episodes from these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Statistics = dict[str, NDArray[Any]]
"""``min``, ``max``, ``mean``, ``std``, ``count`` [1] and the quantiles ``q01`` … ``q99`` of a feature."""

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
_MAX_IMAGES, _MAX_SIDE = 100, 150


def vector_statistics(values: NDArray[Any]) -> Statistics:
    """Statistics of a feature's values [T, D], or [T]; each is [D], or [1]."""
    return _statistics(values.reshape(len(values), -1).astype(np.float64), len(values))


def image_statistics(images: NDArray[np.uint8]) -> Statistics:
    """Statistics of the colours of images [T, h, w, 3], 0 … 1; each is [3, 1, 1]. Long films are sampled."""
    used = np.unique(np.round(np.linspace(0, len(images) - 1, min(len(images), _MAX_IMAGES))).astype(int))
    stride = max(1, max(images.shape[1:3]) // _MAX_SIDE)
    pixels = images[used, ::stride, ::stride].reshape(-1, 3).astype(np.float64) / 255
    found = _statistics(pixels, len(used))
    return {key: value if key == "count" else value.reshape(3, 1, 1) for key, value in found.items()}


def merge(parts: Sequence[Statistics]) -> Statistics:
    """Statistics of everything from those of its parts; quantiles are their mean, as LeRobot itself merges them."""
    counts = np.array([part["count"][0] for part in parts], np.float64)
    share = counts / counts.sum()

    def weighted(values: list[NDArray[Any]]) -> NDArray[Any]:
        return np.tensordot(share, np.stack(values), axes=1)

    mean = weighted([part["mean"] for part in parts])
    variance = weighted([part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in parts])
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([int(counts.sum())]),
        **{key: weighted([part[key] for part in parts]) for key in map(_name, QUANTILES)},
    }


def _statistics(values: NDArray[np.float64], count: int) -> Statistics:
    quantiles = np.quantile(values, QUANTILES, axis=0)
    return {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([count]),
        **{_name(q): value for q, value in zip(QUANTILES, quantiles, strict=True)},
    }


def _name(quantile: float) -> str:
    return f"q{round(quantile * 100):02d}"
