# SPDX-License-Identifier: Apache-2.0
"""How often topics speak, told from the numbers that their publishers give the messages."""

from __future__ import annotations

from collections import deque
from typing import Any

_WINDOW_S = 2.0
_SILENT_S = 2.0


class TopicRate:
    """One topic: messages a second, also of those that nobody fetched, and how old the newest is.

    Without numbers (Humble) only what was fetched is counted.
    """

    def __init__(self, name: str, expected_hz: float) -> None:
        self.name, self.expected_hz = name, expected_hz
        self._numbers: dict[bytes, int] = {}
        self._counts: deque[tuple[float, int]] = deque()
        self._heard_s: float | None = None

    def heard(self, publisher: bytes, number: int | None, now_s: float) -> None:
        """Take note of a message that was fetched."""
        last = self._numbers.get(publisher)
        count = number - last if number is not None and last is not None and number > last else 1
        if number is not None:
            self._numbers[publisher] = number
        self._heard_s = now_s
        self._counts.append((now_s, count))

    def section(self, now_s: float) -> dict[str, Any]:
        """What the page shows: rate, what is expected (0: nothing is), and how well that is."""
        while self._counts and now_s - self._counts[0][0] > _WINDOW_S:
            self._counts.popleft()
        rate = sum(count for _, count in self._counts) / _WINDOW_S
        age_s = None if self._heard_s is None else now_s - self._heard_s
        silent = age_s is None or age_s > _SILENT_S
        slow = self.expected_hz > 0 and rate < 0.8 * self.expected_hz
        return {
            "name": self.name,
            "rate": round(rate, 1),
            "expected": self.expected_hz,
            "word": "silent" if silent else "slow" if slow else "good",
        }
