# SPDX-License-Identifier: Apache-2.0
"""Time along the path: how far on its plan an arm is that runs at a share of the planned speed.

The planned motion is a function of *path time*. Path time runs at a rate between 0 and 1, the speed scale. While the
rate is 1 it is time itself; at 0 the arm stands on its path, and goes on from there. The rate is continuous with its
slope, so what is commanded keeps a continuous acceleration: with rate s, velocity is s·q' and acceleration
s²·q'' + s'·q'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import ruckig
from numpy.typing import NDArray

from swiftvla_ros.contract import Limits
from swiftvla_ros.motion.chunk import NS
from swiftvla_ros.motion.planning.reference import Reference

Array = NDArray[np.float64]

HISTORY_NS = 12 * NS
"""How far back times can be mapped: the stamps of chunks lie in the past."""

FASTEST_CHANGE, FASTEST_BEND = 4.0, 40.0
"""Largest slope of the rate, per s, and largest slope of that, per s²: from 0 to 1 in 0.35 s."""

SLOWEST_CHANGE, SLOWEST_BEND = 0.4, 2.0
"""What a change of rate may use however fast the path is; where that is too much, the limits bend the path."""

_SHARE = 0.5
"""Share of the acceleration and jerk limits that a change of rate may use."""

_LOOK_S = 0.5
_LEAST_RATE = 0.2
"""Below this rate a deviation's velocity is not carried over into path time: it would grow without bounds."""


class Moment(NamedTuple):
    """A time on the path: ``ns`` and a fraction of a ns, and how fast path time runs there."""

    ns: int
    fraction: float
    rate: float
    slope: float


_NEVER = -1, Moment(0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class _Piece:
    """Path time from ``begin_ns`` on: a ruckig velocity profile of the rate, then the rate that it ends with."""

    begin_ns: int
    path_ns: int
    fraction: float
    rate: float
    profile: ruckig.Trajectory | None = None
    duration_s: float = 0.0
    covered_s: float = 0.0

    def at(self, t_ns: int) -> Moment:
        if self.profile is None and self.rate == 1.0:
            return Moment(self.path_ns + (t_ns - self.begin_ns), self.fraction, 1.0, 0.0)
        after_s, slope, rate = (t_ns - self.begin_ns) / NS, 0.0, self.rate
        if self.profile is None or after_s >= self.duration_s:
            gone_s = self.covered_s + rate * (after_s - self.duration_s)
        else:
            (gone_s,), (rate,), (slope,) = self.profile.at_time(max(after_s, 0.0))
            gone_s += rate * min(after_s, 0.0)
        gone_ns = self.fraction + gone_s * NS
        whole = int(gone_ns // 1.0)
        return Moment(self.path_ns + whole, gone_ns - whole, min(max(rate, 0.0), 1.0), slope)


class PathClock:
    """Maps real time to path time. Begins with the first call of :meth:`restart`, where both are the same.

    ``target`` is the rate that is held or being gone to.
    """

    def __init__(self) -> None:
        self.target = 1.0
        self._pieces: list[_Piece] = []
        self._asked = _NEVER
        self._wanted = ruckig.InputParameter(1)
        self._wanted.control_interface = ruckig.ControlInterface.Velocity
        self._wanted.max_velocity = [2.0]
        self._solver = ruckig.Ruckig(1)

    @property
    def running(self) -> bool:
        """Whether it was started."""
        return bool(self._pieces)

    def forget(self) -> None:
        """Begin anew at the next restart: times before belong to another clock."""
        self._pieces = []
        self._asked = _NEVER

    def restart(self, now_ns: int, rate: float) -> None:
        """Run at ``rate`` from now on, at once: for an arm that follows no path."""
        now = self.at(now_ns) if self._pieces else Moment(now_ns, 0.0, rate, 0.0)
        self._go_on(_Piece(now_ns, now.ns, now.fraction, rate))

    def restarted(self, now_ns: int, rate: float) -> PathClock:
        """What :meth:`restart` would make of this one, which stays as it is."""
        other = PathClock()
        other._pieces = list(self._pieces)
        other.restart(now_ns, rate)
        return other

    def change(self, now_ns: int, rate: float, limits: Limits, speed: Array) -> None:
        """Go over to ``rate`` from now on, smoothly, along a path with speeds [J] of up to ``speed``."""
        now = self.at(now_ns)
        speed = np.maximum(speed, 1e-9)
        by_acceleration = float((_SHARE * limits.max_acceleration / speed).min())
        by_jerk = float((_SHARE * limits.max_jerk / speed).min())
        # What bends the slope to 0 before the rate leaves 0 … 1: the change under way needed no more, so it is inside
        # the limits. With less, path time would run backwards.
        room = now.rate if now.slope < 0.0 else 1.0 - now.rate
        needed = 1.001 * now.slope**2 / (2.0 * max(room, 1e-9))
        wanted = self._wanted
        wanted.current_position, wanted.current_velocity, wanted.current_acceleration = [0.0], [now.rate], [now.slope]
        wanted.target_velocity, wanted.target_acceleration = [rate], [0.0]
        wanted.max_acceleration = [float(np.clip(by_acceleration, SLOWEST_CHANGE, FASTEST_CHANGE))]
        wanted.max_jerk = [max(float(np.clip(by_jerk, SLOWEST_BEND, FASTEST_BEND)), needed)]
        profile = ruckig.Trajectory(1)
        self._solver.calculate(wanted, profile)
        duration_s = profile.duration
        covered_s = profile.at_time(duration_s)[0][0]
        self._go_on(_Piece(now_ns, now.ns, now.fraction, rate, profile, duration_s, covered_s))

    def settle(self, now_ns: int) -> None:
        """Forget a change that is over: from now on path time is counted in whole ns."""
        if self._pieces and self._pieces[-1].profile is not None and self.steady_ns <= now_ns:
            self.restart(now_ns, self.target)

    def at(self, t_ns: int) -> Moment:
        """Path time at a time."""
        if t_ns == self._asked[0]:  # a tick asks several times
            return self._asked[1]
        pieces = self._pieces
        k = len(pieces) - 1
        while k > 0 and t_ns < pieces[k].begin_ns:
            k -= 1
        moment = pieces[k].at(t_ns)
        self._asked = t_ns, moment
        return moment

    @property
    def steady_ns(self) -> int:
        """From when on the rate does not change any more."""
        last = self._pieces[-1]
        return last.begin_ns + int(-(-last.duration_s * NS // 1))

    def when(self, path_ns: int) -> int:
        """A time at which path time ``path_ns`` is reached or passed, or else the clock stands for good."""
        last = self._pieces[-1]
        if last.profile is None and last.rate == 1.0:
            return last.begin_ns + (path_ns - last.path_ns)
        steady_ns = self.steady_ns
        left_ns = path_ns - last.at(steady_ns).ns
        if left_ns <= 0 or last.rate == 0.0:
            return steady_ns
        return steady_ns + int(min(left_ns / last.rate, 1e6 * NS)) + 1

    def _go_on(self, piece: _Piece) -> None:
        self.target = piece.rate
        self._asked = _NEVER
        while self._pieces and self._pieces[-1].begin_ns >= piece.begin_ns:
            self._pieces.pop()
        self._pieces.append(piece)
        while len(self._pieces) > 1 and self._pieces[1].begin_ns < piece.begin_ns - HISTORY_NS:
            self._pieces.pop(0)


class RealTime:
    """A reference as a function of real time, for what commands the arm."""

    def __init__(self, reference: Reference, clock: PathClock) -> None:
        self._reference, self._clock = reference, clock

    @property
    def rest_ns(self) -> int:
        """From when on it rests."""
        return self._clock.when(self._reference.rest_ns)

    def sample(self, t_ns: int) -> Array:
        """Position, velocity and acceleration [3, J] at a time."""
        return real_state(self._reference, self._clock.at(t_ns))


def real_state(reference: Reference, at: Moment) -> Array:
    """Position and its derivatives by real time [3, J] at a place of a reference."""
    state = reference.sample(at.ns, at.fraction)
    if at.rate == 1.0 and at.slope == 0.0:
        return state
    p, v, a = state
    return np.stack([p, at.rate * v, at.rate * at.rate * a + at.slope * v])


def path_state(state: Array, reference: Reference | None, at: Moment) -> Array:
    """What a commanded ``state`` [3, J] at a moment is in path time, at the moment's whole ns.

    On the reference it is the reference's own state there, so that whatever replaces the reference continues it however
    slow path time runs. A deviation from it is carried over; of one at a low rate only the position, the rest is the
    limiter's.
    """
    if at.rate == 1.0 and at.slope == 0.0 and at.fraction == 0.0:
        return state
    base = np.zeros_like(state)
    if reference is not None:
        expected = real_state(reference, at)
        base = reference.sample(at.ns)
        if np.array_equal(expected, state):
            return base
        state = state - expected
    p, v, a = state
    if at.rate < _LEAST_RATE:
        return base + np.stack([p, 0.0 * v, 0.0 * a])
    v = v / at.rate
    a = (a - at.slope * v) / at.rate**2
    return base + np.stack([p - v * (at.fraction / NS), v, a])


def speed_ahead(reference: Reference, path_ns: int) -> Array:
    """The highest speed [J] of a reference during the next half second of path time."""
    ahead = path_ns + np.linspace(0, _LOOK_S * NS, 9).astype(np.int64)
    return np.asarray(np.abs([reference.sample(int(t))[1] for t in ahead]).max(axis=0))
