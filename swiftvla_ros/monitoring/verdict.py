# SPDX-License-Identifier: Apache-2.0
"""What monitors say: a level with its reason, which does not flicker."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_NS = 1_000_000_000


class VerdictLevel(IntEnum):
    """As ``MonitorVerdict`` has them."""

    USUAL = 0
    SLOW = 1
    HOLD = 2
    BLIND = 3


@dataclass(frozen=True)
class Verdict:
    """What one monitor found in one look; ``MonitorVerdict`` explains the fields."""

    monitor: str
    stamp_ns: int
    chunk_id: int
    level: VerdictLevel
    percent: float
    text: str
    checkpoint_sha256: str = ""
    parts: tuple[str, ...] = ()
    values: Array = field(default_factory=lambda: np.zeros(0))
    slow_at: Array = field(default_factory=lambda: np.zeros(0))
    hold_at: Array = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Steadiness:
    """How many looks, and for how long, a level takes to change."""

    # So many looks in a row must be beyond a bound before it counts: one odd picture stops no arm.
    looks: int = 2
    # So long nothing may be beyond `release` of a bound before its level ends, s.
    calm_s: float = 1.0
    release: float = 0.85


class Latch:
    """Turns measured values into a level that stays for a while; the same looks give the same levels."""

    def __init__(self, steadiness: Steadiness = Steadiness()) -> None:
        self._steady = steadiness
        self._beyond = {VerdictLevel.SLOW: 0, VerdictLevel.HOLD: 0}
        self._above_ns: dict[VerdictLevel, int] = {}
        self.level = VerdictLevel.USUAL

    def judge(self, stamp_ns: int, values: Array, slow_at: Array, hold_at: Array) -> VerdictLevel:
        """The level after a look at ``stamp_ns``; values and bounds are [P]."""
        if self._above_ns and stamp_ns < max(self._above_ns.values()):
            self.forget()  # the clock went back
        for level, bounds in ((VerdictLevel.SLOW, slow_at), (VerdictLevel.HOLD, hold_at)):
            self._beyond[level] = self._beyond[level] + 1 if (values > bounds).any() else 0
            if (values > self._steady.release * bounds).any():
                self._above_ns[level] = stamp_ns
        risen = max((level for level, n in self._beyond.items() if n >= self._steady.looks), default=VerdictLevel.USUAL)
        if risen >= self.level:
            self.level = risen
        elif stamp_ns - self._above_ns.get(self.level, 0) > self._steady.calm_s * _NS:
            # Down to the next level that something is still near to.
            near = stamp_ns - self._above_ns.get(VerdictLevel.SLOW, 0) <= self._steady.calm_s * _NS
            self.level = max(risen, VerdictLevel.SLOW) if self.level is VerdictLevel.HOLD and near else risen
        return self.level

    def forget(self) -> None:
        """Begin anew."""
        self._beyond = dict.fromkeys(self._beyond, 0)
        self._above_ns.clear()
        self.level = VerdictLevel.USUAL


def worst_first(values: Array, bounds: Array) -> list[int]:
    """Parts by how far they are beyond their bounds, the farthest first; those inside are left out."""
    share = values / bounds
    return [int(i) for i in np.argsort(-share) if share[i] > 1.0]
