# SPDX-License-Identifier: Apache-2.0
"""The last word on every command: one tick at a time, inside all limits, whatever the reference asks for.

Each joint is in one of three states. *On* the reference: the next command is the reference itself, allowed only when a
polynomial inside the limits leads there from the last command. *Catching up*: a ruckig trajectory leads from the last
command to where the reference will be a little later. *Braking*: a ruckig trajectory leads to rest.

Ruckig's community edition does not hold position limits on the way, so they are held by an invariant: from each
commanded state, the fastest stop stays inside the limits. A next state that breaks it is not commanded; the stop is
begun instead, and all states along a stop keep the invariant.

An arm that stands outside begins where it stands. There its own place takes the limit's, and follows it inwards: no
command leads farther out again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import ruckig
from numpy.typing import NDArray

from swiftvla_ros.contract import Limits
from swiftvla_ros.contract.turns import nearest
from swiftvla_ros.motion.chunk import NS

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]


class Motion(Protocol):
    """What is to be followed, over real time."""

    @property
    def rest_ns(self) -> int:
        """From when on it rests."""

    def sample(self, t_ns: int) -> Array:
        """Position, velocity and acceleration [3, J] at a time."""


MARGIN = 1e-6
"""Distance kept from the position limits, rad or m, so that rounding never crosses them."""

_TOLERANCE = 1e-6
_HORIZONS = (2, 3, 4, 6, 9, 13, 20, 30, 45, 68, 100, 150)

# Control points (in the Bernstein basis) of the quintic between two states (p, v h, a h² at both ends), which bound it:
# three of the jerk (times h³), then acceleration (times h²) inside and at the end, then velocity (times h) likewise.


def _control_points() -> Array:
    start_acceleration, start_velocity = np.eye(6)[2], np.eye(6)[1]
    end_acceleration, end_velocity = np.eye(6)[5], np.eye(6)[4]
    # quintic coefficients beyond the constant acceleration, from the three mismatches at the end
    mismatch = np.array(
        [(-1.0, -1.0, -0.5, 1.0, 0.0, 0.0), (0.0, -1.0, -1.0, 0.0, 1.0, 0.0), (0.0, 0.0, -1.0, 0.0, 0.0, 1.0)]
    )
    c3, c4, c5 = np.array([(10.0, -4.0, 0.5), (-15.0, 7.0, -1.0), (6.0, -3.0, 0.5)]) @ mismatch
    jerk = [6 * c3, 6 * c3 + 12 * c4, 6 * c3 + 24 * c4 + 60 * c5]
    acceleration = [start_acceleration, *(start_acceleration + np.cumsum(jerk, axis=0) / 3)]
    velocity = start_velocity + np.cumsum(acceleration, axis=0) / 4
    return np.stack([*jerk, *acceleration[1:3], end_acceleration, *velocity[:3], end_velocity])


_CONTROL_POINTS = _control_points()
_ORDER = np.array([3, 3, 3, 2, 2, 2, 1, 1, 1, 1])
_POWERS = np.arange(4.0)


@dataclass
class _Motion:
    """A ruckig trajectory of one joint under way."""

    trajectory: ruckig.Trajectory
    duration: float
    braking: bool
    elapsed: float = 0.0


class Limiter:
    """Joint states from tick to tick inside the limits; ``state`` [3, J] is what was commanded last.

    Attributes
    ----------
    position_clamps, velocity_clamps, acceleration_clamps
        int64 [J]: ticks at which the limit kept the joint from the reference. Jerk counts as acceleration.
    limit_excess
        [J], rad or m: how far the limits have bent the path away from the reference, at worst.
    """

    def __init__(self, limits: Limits, tick_s: float) -> None:
        self._limits = limits
        self._tick_s = tick_s
        self.low = limits.min_position + MARGIN
        self.high = limits.max_position - MARGIN
        self._lowest, self._highest = self.low.copy(), self.high.copy()
        self._outside = False
        joints = len(self.low)
        v, a, j = limits.max_velocity, limits.max_acceleration, limits.max_jerk
        self._bounds = np.stack([(v, a, j)[order - 1] for order in _ORDER]) * (1 + _TOLERANCE)
        self._jerk, self._speed = j, v * (1 + _TOLERANCE)
        farthest = v * a / j + v * v / (2 * a) + v * a / (2 * j)
        self._safe_low, self._safe_high = self.low + farthest, self.high - farthest
        self.longest_stop_s = float((v / a + 2 * a / j).max())
        self._solver = ruckig.Ruckig(1)
        self._brakes = [self._input(j, ruckig.ControlInterface.Velocity) for j in range(joints)]
        self._moves = [self._input(j, ruckig.ControlInterface.Position) for j in range(joints)]
        self._probe = ruckig.Trajectory(1)
        self._motions: list[_Motion | None] = [None] * joints
        self._caught: list[Counts] = [np.zeros(joints, dtype=np.int64) for _ in range(3)]
        self.position_clamps, self.velocity_clamps, self.acceleration_clamps = self._caught
        self.limit_excess: Array = np.zeros(joints)
        self.state: Array = np.zeros((3, joints))

    @property
    def at_rest(self) -> bool:
        """Whether no joint moves."""
        return not self.state[1:].any()

    @property
    def on_reference(self) -> bool:
        """Whether every joint is on the reference."""
        return not any(self._motions)

    def at_rest_at(self, position: Array) -> Array:
        """The state [3, J] of resting at a position [J], inside the limits or not; at a limit, ``MARGIN`` inside."""
        state = np.zeros_like(self.state)
        at_limit = (position >= self.low - MARGIN) & (position <= self.high + MARGIN)
        state[0] = np.where(at_limit, self.inside(position), position)
        return state

    def in_reach(self, position: Array) -> bool:
        """Whether a position [J] is as near to the state as a tick leads at most."""
        apart = nearest(position, self.state[0], self._limits.continuous) - self.state[0]
        return bool((np.abs(apart) <= self._speed * self._tick_s).all())

    def inside(self, positions: Array) -> Array:
        """Positions [..., J] drawn inside the position limits."""
        return np.clip(positions, self.low, self.high)

    def reachable(self, positions: Array) -> Array:
        """Positions [..., J] drawn to where a command may still be: inside the limits, or on the way in."""
        return np.clip(positions, self._lowest, self._highest)

    def join(self, positions: Array) -> None:
        """Go over to a reference through rows [K, J]: count those outside the position limits, and how far."""
        self.rejoin()
        outside = np.abs(self.inside(positions) - positions)
        outside[outside <= 2 * MARGIN] = 0.0
        self.position_clamps += (outside > 0.0).sum(axis=0)
        np.maximum(self.limit_excess, outside.max(axis=0), out=self.limit_excess)

    def rest_at(self, position: Array) -> None:
        """Start from rest at a position [J], as :meth:`at_rest_at` has it."""
        self.state = self.at_rest_at(position)
        self._lowest, self._highest = np.minimum(self.low, self.state[0]), np.maximum(self.high, self.state[0])
        self._outside = bool((self._lowest < self.low).any() or (self._highest > self.high).any())
        self.rejoin()

    def rejoin(self) -> None:
        """Forget ruckig trajectories under way: the reference was changed."""
        self._motions = [None] * len(self._motions)

    def follow(self, reference: Motion, now_ns: int, dt_s: float, *, catch_up: bool = True) -> None:
        """Advance the state by ``dt_s`` to the reference at ``now_ns``, or as near as the limits allow.

        With ``catch_up`` False, joints off the reference brake.
        """
        target = reference.sample(now_ns)
        over = self._over(self.state, target, dt_s)
        fast, leaves = self._too_fast(target), self._leaves(target)
        if self.on_reference and not (over.any() or fast.any() or leaves.any()):
            self.state = target
            self._come_inside()
            return
        on = ~(over.any(axis=0) | fast | leaves)
        fast |= over[6:].any(axis=0)
        new = np.empty_like(self.state)
        for j, motion in enumerate(self._motions):
            if motion is None and on[j]:
                new[:, j] = target[:, j]
                continue
            cause = 0 if leaves[j] else 1 if fast[j] else 2
            self._caught[cause][j] += 1
            new[:, j] = self._off_reference(j, reference, now_ns, dt_s, target, catch_up)
        np.maximum(self.limit_excess, np.abs(target[0] - new[0]), out=self.limit_excess)
        self.state = new
        self._come_inside()

    def brake(self, dt_s: float) -> None:
        """Advance the state by ``dt_s`` on the fastest way to rest."""
        if self.at_rest:
            return
        for j in range(len(self._motions)):
            self.state[:, j] = self._brake(j, dt_s)
        self._come_inside()

    def _come_inside(self) -> None:
        """Let the bounds of joints that began outside follow them inwards."""
        if not self._outside:
            return
        np.clip(self.state[0], self._lowest, self.low, out=self._lowest)
        np.clip(self.state[0], self.high, self._highest, out=self._highest)
        self._outside = bool((self._lowest < self.low).any() or (self._highest > self.high).any())

    def _off_reference(
        self, j: int, reference: Motion, now_ns: int, dt_s: float, target: Array, catch_up: bool
    ) -> tuple[float, float, float]:
        motion = self._motions[j]
        if motion is not None and motion.braking and motion.elapsed >= motion.duration:
            motion = self._motions[j] = None
        if motion is None and catch_up:
            motion = self._motions[j] = self._plan(j, reference, now_ns, dt_s)
        if motion is None or motion.braking or not catch_up:
            return self._brake(j, dt_s)
        motion.elapsed += dt_s
        late = motion.elapsed - motion.duration
        if late > -1e-9:
            if self._arrived(j, reference, now_ns, late, target):
                self._motions[j] = None
                return tuple(target[:, j].tolist())
            motion = self._motions[j] = self._plan(j, reference, now_ns, dt_s)
            if motion is None:
                return self._brake(j, dt_s)
            motion.elapsed = dt_s
        state = _at(motion.trajectory, motion.elapsed)
        if self._stop_leaves(j, *state):
            return self._brake(j, dt_s)
        return state

    def _arrived(self, j: int, reference: Motion, now_ns: int, late: float, target: Array) -> bool:
        """Whether the rest of the tick, after a catching-up ended inside it, can be spent on the reference."""
        if self._stop_leaves(j, *target[:, j].tolist()):
            return False
        if late < 1e-9:
            return True
        start = reference.sample(now_ns - round(late * NS))
        return not self._over(start, target, late)[:, j].any()

    def _brake(self, j: int, dt_s: float) -> tuple[float, float, float]:
        motion = self._motions[j]
        if motion is None or not motion.braking:
            trajectory = ruckig.Trajectory(1)
            _set_state(self._brakes[j], self.state[:, j])
            self._solver.calculate(self._brakes[j], trajectory)
            motion = self._motions[j] = _Motion(trajectory, trajectory.duration, braking=True)
        motion.elapsed += dt_s
        if motion.elapsed < motion.duration:
            return _at(motion.trajectory, motion.elapsed)
        return _at(motion.trajectory, motion.duration)[0], 0.0, 0.0

    def _plan(self, j: int, reference: Motion, now_ns: int, dt_s: float) -> _Motion | None:
        """The soonest way back to the reference that is inside the limits, else to where it comes to rest."""
        limits, move = self._limits, self._moves[j]
        v_max, a_max = limits.max_velocity[j], limits.max_acceleration[j]
        _set_state(move, self.state[:, j])
        before_ns = now_ns - round(dt_s * NS)
        to_rest = (reference.rest_ns - before_ns) / NS
        for horizon in _HORIZONS:
            h = horizon * self._tick_s
            if h < dt_s:
                continue
            if h >= to_rest:
                break
            p, v, a = reference.sample(before_ns + round(h * NS))[:, j].tolist()
            if abs(v) > v_max or abs(a) > a_max or abs(p - self.state[0, j]) > v_max * h:
                continue
            if self._stop_leaves(j, p, v, a):
                continue
            motion = self._move(move, (p, v, a), h)
            if motion is not None and motion.duration <= h + 1e-9 and self._inside(j, motion):
                return motion
        end = float(np.clip(reference.sample(reference.rest_ns)[0, j], self.low[j], self.high[j]))
        motion = self._move(move, (end, 0.0, 0.0), max(to_rest, dt_s))
        return motion if motion is not None and self._inside(j, motion) else None

    def _move(self, move: ruckig.InputParameter, target: tuple[float, float, float], h: float) -> _Motion | None:
        move.target_position, move.target_velocity, move.target_acceleration = ([x] for x in target)
        move.minimum_duration = h
        trajectory = ruckig.Trajectory(1)
        try:
            result = self._solver.calculate(move, trajectory)
        except ruckig.RuckigError:  # a target that cannot be left inside the limits
            return None
        if result not in (ruckig.Result.Working, ruckig.Result.Finished):
            return None
        return _Motion(trajectory, trajectory.duration, braking=False)

    def _inside(self, j: int, motion: _Motion) -> bool:
        extremes = motion.trajectory.position_extrema[0]
        return bool(extremes.min >= self._lowest[j] - 1e-9 and extremes.max <= self._highest[j] + 1e-9)

    def _over(self, start: Array, end: Array, h: float) -> Flags:
        """Which control points [10, J] of the quintic from ``start`` to ``end`` leave the limits."""
        ends = np.concatenate([start, end])
        ends[1::3] *= h
        ends[2::3] *= h * h
        scale = (h**_POWERS)[_ORDER, None]
        return np.asarray(np.abs(_CONTROL_POINTS @ ends) > self._bounds * scale)

    def _too_fast(self, state: Array) -> Flags:
        """Which joints [J] pass their velocity limit even if the acceleration is taken back at once."""
        _, v, a = state
        return np.asarray(np.abs(v + a * np.abs(a) / (2 * self._jerk)) > self._speed)

    def _leaves(self, state: Array) -> Flags:
        """Which joints [J] could not be stopped inside the position limits."""
        p = state[0]
        leaves = (p < self._safe_low) | (p > self._safe_high)
        for j in np.flatnonzero(leaves).tolist():
            leaves[j] = self._stop_leaves(j, *state[:, j].tolist())
        return leaves

    def _stop_leaves(self, j: int, p: float, v: float, a: float) -> bool:
        """Whether the fastest stop from a state of one joint leaves the position or velocity limits.

        On a stop of a joint that is still outside the position limits no place is farther out than the one before.
        """
        if abs(v + a * abs(a) / (2 * self._jerk[j])) > self._speed[j]:
            return True
        if self._safe_low[j] <= p <= self._safe_high[j]:
            return False
        if p < self._lowest[j] - 1e-9 or p > self._highest[j] + 1e-9:
            return True
        if v == 0.0 and a == 0.0:
            return False
        brake = self._brakes[j]
        # from 0, since ruckig counts 0 among the extremes of a trajectory to rest
        brake.current_position, brake.current_velocity, brake.current_acceleration = [0.0], [v], [a]
        self._solver.calculate(brake, self._probe)
        extremes = self._probe.position_extrema[0]
        low, high = max(min(p, self.low[j]), self._lowest[j]), min(max(p, self.high[j]), self._highest[j])
        least, most = p + extremes.min, p + extremes.max
        if least < low - 1e-9 or most > high + 1e-9:
            return True
        if self.low[j] <= p <= self.high[j]:
            return False
        end = p + self._probe.at_time(self._probe.duration)[0][0]
        outwards = min(most, self.low[j]) - end if p < self.low[j] else end - max(least, self.high[j])
        return bool(outwards > 1e-9)

    def _input(self, j: int, interface: ruckig.ControlInterface) -> ruckig.InputParameter:
        parameters = ruckig.InputParameter(1)
        parameters.control_interface = interface
        parameters.max_velocity = [float(self._limits.max_velocity[j])]
        parameters.max_acceleration = [float(self._limits.max_acceleration[j])]
        parameters.max_jerk = [float(self._limits.max_jerk[j])]
        return parameters


def _set_state(parameters: ruckig.InputParameter, state: Array) -> None:
    p, v, a = state.tolist()
    parameters.current_position, parameters.current_velocity, parameters.current_acceleration = [p], [v], [a]


def _at(trajectory: ruckig.Trajectory, t: float) -> tuple[float, float, float]:
    p, v, a = trajectory.at_time(t)
    return p[0], v[0], a[0]
