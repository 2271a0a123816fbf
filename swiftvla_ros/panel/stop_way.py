# SPDX-License-Identifier: Apache-2.0
"""Whether the emergency stop would arrive: proven by the executor's answers, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_PROVEN_S = 1.0
# An unanswered question is given up, and asked anew.
_LOST_S = 2.0


class StopWay:
    """Questions to the executor and its answers; in one thread."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._asked: tuple[int, float] | None = None
        self._count = 0
        self._answered_s: float | None = None
        self._round_trip_s = 0.0
        self._configured = False

    def ask(self) -> int | None:
        """The number of a question to ask now; None while an answer is awaited."""
        now_s = self._clock_s()
        if self._asked is not None and now_s - self._asked[1] < _LOST_S:
            return None
        self._count += 1
        self._asked = self._count, now_s
        return self._count

    def answered(self, number: int, *, configured: bool) -> None:
        """Take an answer; one that was given up is late."""
        if self._asked is None or self._asked[0] != number:
            return
        now_s = self._clock_s()
        self._round_trip_s, self._answered_s, self._configured = now_s - self._asked[1], now_s, configured
        self._asked = None

    def section(self, *, ready: bool, speaks: bool) -> dict[str, Any]:
        """What the page shows: ``ready``: the service is there; ``speaks``: the executor's states come."""
        proven = self._answered_s is not None and self._clock_s() - self._answered_s < _PROVEN_S
        why = ""
        if not ready:
            why = "nobody offers trajectory_executor/emergency_stop: start the system, or look why the executor ended"
        elif not proven:
            why = "the executor doesn't answer: it stands still, or the network is cut"
        elif not self._configured:
            why = "the executor is not configured: its emergency stop does nothing yet"
        elif not speaks:
            why = "the executor answers, but its state doesn't come"
        # Tens of ms, so that a page isn't told of every wavering.
        return {"alive": not why, "why": why, "ms": 10 * round(1e2 * self._round_trip_s)}
