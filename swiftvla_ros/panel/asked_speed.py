# SPDX-License-Identifier: Apache-2.0
"""The speed that operators ask for: what the slider of every page stands at."""

from __future__ import annotations

import time
from collections.abc import Callable

# What was just asked for has to reach the executor, and its state has to come back.
_ON_ITS_WAY_S = 0.5
# A speed that has stayed the same for so long is where it was to go.
_SETTLED_S, _SAME = 0.3, 1e-3


class AskedSpeed:
    """Learns ``percent`` of the topic ``speed_scale`` and of what the executor says; None before either.

    The topic alone doesn't do: whoever set the speed may have ended since, and the executor still goes by it. The
    executor tells of the lowest limit alone: while a monitor's is lower, the last that was known counts.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self.percent: float | None = None
        self._heard_s = self._since_s = -_ON_ITS_WAY_S
        self._speed = -1.0

    def heard(self, percent: float) -> None:
        """Take note of what somebody asks for; the executor refuses what is no percentage."""
        if 0.0 <= percent <= 100.0:
            self.percent, self._heard_s = percent, self._clock_s()

    def executor(self, speed: float, *, limited: bool, by_operator: bool) -> None:
        """Take note of the executor's speed, 0 … 1, whether anybody limits it, and whether that is the operator."""
        now_s = self._clock_s()
        if abs(speed - self._speed) > _SAME:
            self._speed, self._since_s = speed, now_s
        if now_s - self._heard_s < _ON_ITS_WAY_S:
            return
        if not limited:
            self.percent = 100.0
        elif by_operator and now_s - self._since_s >= _SETTLED_S:
            self.percent = float(round(100 * speed))
