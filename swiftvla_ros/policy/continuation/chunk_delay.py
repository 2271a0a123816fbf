# SPDX-License-Identifier: Apache-2.0
"""How long a chunk takes from its observation to the arm, measured over the last chunks."""

from __future__ import annotations

import math
from collections import deque

import numpy as np


class MeasuredDelay:
    """A high quantile of the last delays.

    The first delays are left out: a cold start is slower than anything that follows, and one such number must not make
    the policy expect it for ever. An outlier leaves the window with the chunks that follow it.

    Parameters
    ----------
    window
        Chunks that count.
    quantile
        Share of them that arrived no later than is expected.
    warm_up
        Chunks that are left out after the start.
    """

    def __init__(self, window: int = 20, quantile: float = 0.9, warm_up: int = 2) -> None:
        self._delays_s: deque[float] = deque(maxlen=window)
        self._quantile, self._warm_up = quantile, warm_up
        self._left_out = 0

    def clear(self) -> None:
        """Forget everything; what comes next is a warm-up again."""
        self._delays_s.clear()
        self._left_out = 0

    def add(self, delay_s: float) -> None:
        """Take note of a chunk that was first followed ``delay_s`` after its observation."""
        if not (math.isfinite(delay_s) and delay_s >= 0):
            return
        if self._left_out < self._warm_up:
            self._left_out += 1
            return
        self._delays_s.append(delay_s)

    @property
    def seconds(self) -> float | None:
        """What to expect of the next chunk, s; None before there is a measurement."""
        if not self._delays_s:
            return None
        return float(np.quantile(np.array(self._delays_s), self._quantile, method="higher"))

    def rows(self, step_s: float) -> int:
        """Rows of a chunk with steps of ``step_s`` that will lie in the past when it arrives; 0 while unknown."""
        seconds = self.seconds
        # A row at the very moment of arrival is still the new chunk's; a millionth of a step is rounding.
        return 0 if seconds is None else math.ceil(seconds / step_s - 1e-6)
