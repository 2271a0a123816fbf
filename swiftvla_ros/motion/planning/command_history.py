# SPDX-License-Identifier: Apache-2.0
"""What was commanded during the last seconds, over path time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.motion.chunk import NS

Array = NDArray[np.float64]

KEPT_S = 3.0
"""How far back commands are kept: an observation is rarely older when its chunk is computed."""


class CommandHistory:
    """A ring of the last commands; it does not grow."""

    def __init__(self, joints: int, rate_hz: float) -> None:
        self._times = np.zeros(max(round(KEPT_S * rate_hz), 2), dtype=np.int64)
        self._positions = np.zeros((len(self._times), joints))
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._count = 0
        self._last_ns = 0

    def note(self, path_ns: int, position: Array) -> None:
        """Keep a command [J]; a pause is one time on the path, and kept once."""
        if self._count == 0 or path_ns > self._last_ns:
            self._count += 1
            self._last_ns = path_ns
        k = (self._count - 1) % len(self._times)
        self._times[k] = self._last_ns
        self._positions[k] = position

    def at(self, path_ns: NDArray[np.int64], default: Array) -> Array:
        """Commands [N, J] at path times [N]: before the first it is the first, after the last the last.

        ``default`` [J] where none was noted yet.
        """
        if self._count == 0:
            return np.tile(default, (len(path_ns), 1))
        size = len(self._times)
        order = np.arange(max(self._count - size, 0), self._count) % size
        t, times = (path_ns - self._times[order[-1]]) / NS, (self._times[order] - self._times[order[-1]]) / NS
        return np.stack([np.interp(t, times, column) for column in self._positions[order].T], axis=1)
