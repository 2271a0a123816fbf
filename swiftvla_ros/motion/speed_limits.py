# SPDX-License-Identifier: Apache-2.0
"""How fast the arm may go along its path: the lowest of the limits that operator and monitors have set."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from swiftvla_ros.motion.chunk import NS

OPERATOR = "operator"
"""The source that the ``speed_scale`` topic is."""

MOST_SOURCES = 50
"""Who sets limits under ever new names must not fill the memory, or cost the control thread its time."""


@dataclass(frozen=True)
class SourceLimit:
    """What one source allows, and why, for people.

    ``scale`` is the highest share of the planned speed, 0 … 1; 1 limits nothing. It counts for ``valid_for_s`` after
    ``stamp_ns``; 0: until it is replaced.
    """

    source: str
    scale: float
    reason: str = ""
    stamp_ns: int = 0
    valid_for_s: float = 0.0

    @classmethod
    def of_percent(
        cls, source: str, percent: float, reason: str = "", stamp_ns: int = 0, valid_for_s: float = 0.0
    ) -> SourceLimit:
        """Make one of a message's numbers: ``percent`` of the planned speed."""
        return cls(source, percent / 100.0, reason, stamp_ns, valid_for_s)

    @property
    def problem(self) -> str:
        """What is wrong with it; empty where nothing is."""
        if not self.source:
            return "source is empty"
        if not 0.0 <= self.scale <= 1.0:
            return f"{100 * self.scale:g} is not a number from 0 to 100 (%)"
        return "" if 0.0 <= self.valid_for_s < math.inf else f"valid_for is {self.valid_for_s}, not 0 or more seconds"


class SpeedLimits:
    """The newest limit of each source: the lowest ``scale`` of them, how many were ``taken``, which ``expired``."""

    def __init__(self) -> None:
        self._limits: dict[str, SourceLimit] = {}
        self.scale = 1.0
        self.taken = 0
        self.expired: SourceLimit | None = None

    @property
    def binding(self) -> SourceLimit | None:
        """The limit that slows the arm most; None where none does."""
        lowest = min(self._limits.values(), key=lambda limit: (limit.scale, limit.source), default=None)
        return None if lowest is None or lowest.scale == 1.0 else lowest

    @property
    def text(self) -> str:
        """The same for people, such as "30 %, hands: a hand is near"."""
        limit = self.binding
        return f"{100 * self.scale:g} %" + (f", {limit.source}: {limit.reason}" if limit else "")

    def problem(self, limit: SourceLimit) -> str:
        """Why it would not be taken; empty where it would."""
        if limit.source not in (*self._limits, OPERATOR) and len(self._limits) >= MOST_SOURCES:
            return f"{MOST_SOURCES} sources have set limits already"
        return limit.problem

    def set(self, limit: SourceLimit) -> bool:
        """Replace what its source had set; False, and nothing changes, where there is a :meth:`problem` with it."""
        if self.problem(limit):
            return False
        self._limits[limit.source] = limit
        self.taken += 1
        self._settle()
        return True

    def expire(self, now_ns: int) -> None:
        """Forget what is no longer valid. What is stamped later than now, as by a clock that went back, begins now."""
        for limit in [limit for limit in self._limits.values() if limit.valid_for_s]:
            if limit.stamp_ns > now_ns:
                self._limits[limit.source] = replace(limit, stamp_ns=now_ns)
            elif now_ns - limit.stamp_ns > limit.valid_for_s * NS:
                self.expired = self._limits.pop(limit.source)
                self._settle()

    def _settle(self) -> None:
        self.scale = min((limit.scale for limit in self._limits.values()), default=1.0)
