# SPDX-License-Identifier: Apache-2.0
"""Chunk guidance without torch: ``identity`` and ``trained`` of ``model.guidance``, which explains them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.model.guidance_weight import MAX_WEIGHT, guidance_weight
from swiftvla_ros.observation.observation import RowsAhead

Array = NDArray[np.float32]


class GuidedFlow:
    """One chunk's guidance.

    Parameters
    ----------
    method
        "identity" or "trained".
    ahead
        Normalised rows that the chunk shall continue.
    shape
        Of a chunk, (h, a).
    flow_times
        Of the Euler steps.
    """

    def __init__(self, method: str, ahead: RowsAhead, shape: tuple[int, ...], flow_times: Array) -> None:
        self._trained = method == "trained"
        overlap, joints = ahead.rows.shape
        # The network's padding is zero in training, too.
        self._rows = np.zeros(shape, np.float32)
        self._rows[:overlap, :joints] = ahead.rows
        self._executed = np.arange(shape[0]) < ahead.executed
        self._times = flow_times
        self._mask = soft_mask(ahead.executed, overlap, shape[0])[:, None]
        # Flow times of every row at every step; None: one for all rows.
        self.row_times = np.where(self._executed, np.float32(0), flow_times[:, None]) if self._trained else None

    def start(self, noise: Array) -> Array:
        """What the integration begins with."""
        return np.where(self._executed[:, None], self._rows, noise) if self._trained else noise

    def steer(self, velocity: Array, x: Array, step: int) -> Array:
        """The velocity that leads to a chunk which continues the rows."""
        if self._trained:
            return np.where(self._executed[:, None], np.float32(0), velocity)
        time = float(self._times[step])
        error = self._mask * (self._rows - (x - np.float32(time) * velocity))
        most = min(MAX_WEIGHT, float(len(self._times)))
        return np.asarray(velocity - np.float32(guidance_weight(time, most)) * error)


def soft_mask(frozen: int, overlap: int, horizon: int) -> Array:
    """How strongly each row is held, as ``model.guidance.soft_mask``."""
    rows = np.arange(horizon, dtype=np.float32)
    c = np.clip((overlap - rows) / np.float32(overlap - frozen + 1), 0, 1)
    return np.where(rows < frozen, np.float32(1), c * np.expm1(c) / np.float32(math.e - 1)).astype(np.float32)
