# SPDX-License-Identifier: Apache-2.0
"""How often topics come, against what the contract promises: what an operator has to know before it is too late."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

_NS = 1_000_000_000
# A second of a 15 Hz camera is 15 messages: enough to tell 80 % from 100 %.
_WINDOW_NS = 2 * _NS
ENOUGH = 0.8
"""Part of its rate below which a topic is slow: drivers round (29.97 Hz), and the window cuts messages."""
_SILENT_NS = _NS


@dataclass(frozen=True)
class NeededTopic:
    """A topic without which an episode holds nothing: in people's words, and its rate, Hz; 0 where any will do."""

    what: str
    rate_hz: float = 0.0


class TopicRates:
    """Counts messages by topic; ``expected`` by full name."""

    def __init__(self, expected: Mapping[str, NeededTopic]) -> None:
        self.expected = dict(expected)
        self._times: dict[str, deque[int]] = {topic: deque() for topic in expected}

    def heard(self, topic: str, now_ns: int) -> None:
        """A message came."""
        times = self._times.setdefault(topic, deque())
        # A clock that jumped back (a simulator that was reset) would leave messages from the future.
        if times and times[-1] > now_ns:
            times.clear()
        times.append(now_ns)
        while times[0] < now_ns - _WINDOW_NS:
            times.popleft()

    def rates_hz(self, now_ns: int) -> dict[str, float]:
        """Return the rate of each topic over the last two seconds."""
        rates = {}
        for topic, times in self._times.items():
            while times and times[0] < now_ns - _WINDOW_NS:
                times.popleft()
            span_ns = now_ns - times[0] if times else 0
            rates[topic] = len(times) * _NS / max(span_ns, _NS // 2) if times else 0.0
        return rates

    def silent(self, now_ns: int) -> dict[str, str]:
        """Name what is awaited and has not come for a second, by topic."""
        return {
            topic: each.what
            for topic, each in self.expected.items()
            if not self._times[topic] or now_ns - self._times[topic][-1] > _SILENT_NS
        }

    def slow(self, now_ns: int) -> dict[str, str]:
        """Tell which topics come more seldom than they should, by topic."""
        rates = self.rates_hz(now_ns)
        return {
            topic: f"{each.what}: {rates[topic]:.1f} Hz on {topic}, {each.rate_hz:g} Hz expected"
            for topic, each in self.expected.items()
            if each.rate_hz and rates[topic] < ENOUGH * each.rate_hz
        }
