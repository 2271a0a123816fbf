# SPDX-License-Identifier: Apache-2.0
"""The path through rows, and the slow-down along it to rest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Limits
from swiftvla_ros.contract.turns import TURN
from swiftvla_ros.motion.chunk import NS
from swiftvla_ros.motion.planning.rows import PlannedRows
from swiftvla_ros.motion.planning.spline import SplinePath, smoothed

Array = NDArray[np.float64]

LONGEST_SLOW_DOWN_S = 0.5
"""The slow-down along the path reaches rest this long after its begin at most, half of it after the last row."""

SMOOTH_AT_MOST = 0.02
"""How far noisy rows may be moved to be drawable, as a share of the joint's range."""

_SLOW_DOWN_SHARE = 0.6
_DRAWN_SHARE = 0.9
_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True)
class MotionPlan:
    """The motion that rows ask for, for all time: along the path through them, slowed along it to rest.

    The slow-down begins ``slow_from_s`` after the path's origin and takes ``slow_for_s``; on the path it covers half of
    that.
    """

    rows: PlannedRows
    path: SplinePath
    slow_from_s: float
    slow_for_s: float

    @classmethod
    def through(cls, rows: PlannedRows, limits: Limits, *, now_ns: int, until_ns: int) -> MotionPlan:
        """Slow down so that the last row is the place of rest, or from ``until_ns`` on where that is earlier."""
        origin_ns = int(rows.times_ns[0])
        # rows beyond what can be followed before another chunk comes would only cost time; two more shape the curve
        needed = int(np.searchsorted(rows.times_ns, until_ns + round(LONGEST_SLOW_DOWN_S / 2 * NS))) + 3
        times = (rows.times_ns[:needed] - origin_ns) / NS
        path = _drawable(origin_ns, times, rows.positions[:needed], limits)
        slow_for = _slow_down_s(path, path.end, limits)
        slow_from, until = path.end - slow_for / 2, (until_ns - origin_ns) / NS
        if until < slow_from:
            slow_from, slow_for = until, _slow_down_s(path, until + LONGEST_SLOW_DOWN_S / 2, limits)
        return cls(rows, path, max(slow_from, (now_ns - origin_ns) / NS), slow_for)

    @property
    def slow_ns(self) -> int:
        """When the slow-down begins."""
        return self.path.origin_ns + round(self.slow_from_s * NS)

    @property
    def path_end_ns(self) -> int:
        """When the place of rest would have been reached without the slow-down: the last usable row's time."""
        return self.path.origin_ns + round((self.slow_from_s + self.slow_for_s / 2) * NS)

    @property
    def rest_ns(self) -> int:
        """From when on it rests."""
        return self.path.origin_ns + math.ceil((self.slow_from_s + self.slow_for_s) * NS)

    def slowed_from(self, t_ns: int, limits: Limits) -> MotionPlan:
        """The same motion, but slowed to rest from ``t_ns`` on, unless it slows already."""
        s = (t_ns - self.path.origin_ns) / NS
        if s >= self.slow_from_s:
            return self
        return replace(self, slow_from_s=s, slow_for_s=_slow_down_s(self.path, s + LONGEST_SLOW_DOWN_S / 2, limits))

    def path_time_s(self, t_ns: int) -> float:
        """Where on the path, s after its origin, a time is."""
        s = (t_ns - self.path.origin_ns) / NS
        u = min(max((s - self.slow_from_s) / self.slow_for_s, 0.0), 1.0)
        return min(s, self.slow_from_s) + self.slow_for_s * u * (1.0 - u * u * (1.0 - u / 2))

    def sample(self, t_ns: NDArray[np.int64]) -> Array:
        """Position, velocity and acceleration [N, 3, J] at times [N]."""
        s, rate, slowing = self._along(t_ns)
        p, v, a = np.moveaxis(self.path.sample(s), 1, 0)
        rate, slowing = rate[:, None], slowing[:, None]
        return np.stack([p, rate * v, rate * rate * a + slowing * v], axis=1)

    def _along(self, t_ns: NDArray[np.int64]) -> tuple[Array, Array, Array]:
        s = (t_ns - self.path.origin_ns) / NS
        before, u = np.minimum(s, self.slow_from_s), np.clip((s - self.slow_from_s) / self.slow_for_s, 0.0, 1.0)
        place = before + self.slow_for_s * u * (1.0 - u * u * (1.0 - u / 2))
        return place, 1.0 - u * u * (3.0 - 2.0 * u), -6.0 * u * (1.0 - u) / self.slow_for_s


def _drawable(origin_ns: int, times: Array, rows: Array, limits: Limits) -> SplinePath:
    """The curve through the rows; where noise makes it sharper than the limits, through rows smoothed a little.

    Only joints that need it are smoothed, as little as does it, and never by more than ``SMOOTH_AT_MOST``: a plan that
    wants to be elsewhere is the limiter's to slow, not this function's to redraw.
    """
    path = SplinePath(origin_ns, times, rows)
    if len(times) <= 3:
        return path
    most = SMOOTH_AT_MOST * np.where(limits.continuous, TURN, limits.max_position - limits.min_position)
    for strength in _STRENGTHS:
        acceleration, jerk = path.peaks()
        sharp = (acceleration > _DRAWN_SHARE * limits.max_acceleration) | (jerk > _DRAWN_SHARE * limits.max_jerk)
        if not sharp.any():
            break
        softer = smoothed(times, rows, strength)
        sharp &= np.abs(softer - rows).max(axis=0) <= most
        path = SplinePath(origin_ns, times, np.where(sharp, softer, path.rows))
    return path


def _slow_down_s(path: SplinePath, end: float, limits: Limits) -> float:
    """How long coming to rest takes from the speed that the path has before ``end``, with a share of the limits."""
    speed = np.abs(path.sample(np.linspace(end - LONGEST_SLOW_DOWN_S / 2, end, 8))[:, 1]).max(axis=0)
    by_acceleration = 1.5 * speed / (_SLOW_DOWN_SHARE * limits.max_acceleration)
    by_jerk = np.sqrt(6.0 * speed / (_SLOW_DOWN_SHARE * limits.max_jerk))
    return float(np.clip(np.maximum(by_acceleration, by_jerk).max(), 0.02, LONGEST_SLOW_DOWN_S))
