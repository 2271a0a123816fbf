# SPDX-License-Identifier: Apache-2.0
"""Runs along a reference in real time: at a speed scale, inside the limits, and to rest where it must."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Limits
from swiftvla_ros.motion.chunk import NS
from swiftvla_ros.motion.following.limiter import Limiter
from swiftvla_ros.motion.following.path_clock import PathClock, RealTime, path_state, speed_ahead
from swiftvla_ros.motion.planning.chunk_planner import PlannedChunk
from swiftvla_ros.motion.planning.motion_plan import LONGEST_SLOW_DOWN_S
from swiftvla_ros.motion.planning.reference import Reference
from swiftvla_ros.motion.speed_limits import SpeedLimits
from swiftvla_ros.motion.state_machine import Facts

Array = NDArray[np.float64]

REST_AFTER_LAST_ROW_S = 0.5
"""After the last usable row, what would not rest by then by itself is braked so that it does, where limits allow."""

_REST_BY_NS = round(REST_AFTER_LAST_ROW_S * NS)


class PathFollower:
    """The reference that is followed, the clock of the time on it, and the limiter that has the last word.

    Times in ns are real time, unless their names say path time. While ``reference`` is None nothing is followed, and
    the arm brakes or rests.
    """

    def __init__(self, limits: Limits, tick_s: float, speed_limits: SpeedLimits) -> None:
        self._limits, self._speed_limits = limits, speed_limits
        self._tick_ns = round(tick_s * NS)
        self.limiter = Limiter(limits, tick_s)
        self._longest_stop_ns = round(self.limiter.longest_stop_s * NS)
        self.clock = PathClock()
        self.reference: Reference | None = None
        self._braked_ns: int | None = None  # since when path time itself slows down to a halt

    @property
    def state(self) -> Array:
        """Last commanded position, velocity and acceleration [3, J]."""
        return self.limiter.state

    @property
    def halting(self) -> bool:
        """Whether path time is on its way to a halt, to bring the arm to rest."""
        return self._braked_ns is not None

    def drop(self) -> None:
        """Follow nothing: the next advance brakes."""
        self.reference = self._braked_ns = None

    def forget_time(self) -> None:
        """The clock jumped: path time begins anew. Only while nothing is followed."""
        self.clock.forget()

    def follow(self, planned: PlannedChunk, clock: PathClock, *, anew: bool) -> None:
        """Follow a plan by ``clock``, from the state that it was planned from on.

        ``anew``: nothing was commanded before, and the arm rests where it is measured.
        """
        plan, start = planned.plan, planned.accepted.start
        self.clock = clock
        if anew:
            self.limiter.rest_at(start.pose)
        at = self.clock.at(start.state_ns)
        state = path_state(start.state, self.reference, at)
        if self.reference is None:
            self.reference = Reference.entered(plan, state, at.ns, self._limits, planned.shortest_s)
        else:
            self.reference = self.reference.replaced(plan, state, at.ns, self._limits, fade=planned.fades_paths)
        self._braked_ns = None
        self.limiter.join(planned.accepted.positions)

    def run_clock(self, last_ns: int, *, slowing: bool) -> None:
        """Let path time go over to the wanted scale, from the last command on. What slows down goes on so."""
        clock = self.clock
        if not clock.running:
            clock.restart(last_ns, self._speed_limits.scale)
        clock.settle(last_ns)
        if clock.target == self._speed_limits.scale:
            return
        if self.reference is None:
            clock.restart(last_ns, self._speed_limits.scale)
        elif not slowing:
            self._change_rate(last_ns, self._speed_limits.scale, self.reference)

    def slow_down(self, now_ns: int, last_ns: int) -> None:
        """Slow down along the path: on the plan where it runs at full speed, else by path time itself."""
        reference, clock = self.reference, self.clock
        if reference is None or self._braked_ns is not None:
            return
        now = clock.at(now_ns)
        if now.rate == 1.0 and now.slope == 0.0 and clock.target == 1.0:
            slowed = reference.slowed_from(now.ns, self._limits)
            if slowed is not reference:
                self.reference = slowed
                self.limiter.rejoin()
            return
        self._braked_ns = now_ns
        self._change_rate(last_ns, 0.0, reference)

    def stalled(self, now_ns: int) -> bool:
        """Join the motion again after a tick that came late; False where it was over by then."""
        reference = self.reference
        if reference is None or RealTime(reference, self.clock).rest_ns <= now_ns:
            return False
        at = self.clock.at(now_ns - self._tick_ns)
        state = path_state(self.state, reference, at)
        self.reference = reference.replaced(reference.plan, state, at.ns, self._limits)
        self.limiter.rejoin()
        return True

    def advance(self, now_ns: int, dt_s: float) -> bool:
        """Command the next state: on the reference, or braking. False where the reference had to be given up."""
        reference = self.reference
        given_up = False
        if reference is not None:
            if self._rests_in_time(reference, now_ns, dt_s):
                return True
            given_up = True
            self.drop()
        self.limiter.brake(dt_s)
        return not given_up

    def ahead(self, path_ns: NDArray[np.int64], last_ns: int, past: Array) -> Array:
        """Positions [N, J] at path times [N]: ``past`` up to the last tick at ``last_ns``, then the reference's."""
        positions = past.copy()
        if self.reference is not None:
            for i in np.flatnonzero(path_ns > self.clock.at(last_ns).ns).tolist():
                positions[i] = self.reference.sample(int(path_ns[i]))[0]
        return self.limiter.reachable(positions)

    def facts(self, now_ns: int) -> Facts:
        """What the state machine asks for."""
        reference, resting = self.reference, self.limiter.at_rest
        if reference is None:
            return Facts(resting=resting)
        path_ns = self.clock.at(now_ns).ns
        stands = self.clock.target == 0.0 and self.clock.steady_ns <= now_ns
        braked = self._braked_ns is not None
        return Facts(
            following=True,
            slowing=braked or path_ns >= reference.plan.slow_ns,
            arrived=resting and (path_ns >= reference.rest_ns or (stands and braked)),
            resting=resting,
            paused=stands,
        )

    def _rests_in_time(self, reference: Reference, now_ns: int, dt_s: float) -> bool:
        """Follow the reference; False where the arm would not come to rest on it in time."""
        longest_ns, plan = self._longest_stop_ns, reference.plan
        if self._braked_ns is None:
            rest_by_ns = plan.path_end_ns + _REST_BY_NS
            in_time = self.clock.at(now_ns).ns < max(rest_by_ns - longest_ns, plan.slow_ns)
            rests = reference.rest_ns <= rest_by_ns
        else:
            rest_by_ns = self._braked_ns + round(LONGEST_SLOW_DOWN_S / 2 * NS) + _REST_BY_NS
            in_time = now_ns < max(rest_by_ns - longest_ns, self._braked_ns)
            rests = self.clock.steady_ns <= rest_by_ns
        if in_time or rests:
            self.limiter.follow(RealTime(reference, self.clock), now_ns, dt_s, catch_up=in_time)
            return True
        return False

    def _change_rate(self, from_ns: int, rate: float, reference: Reference) -> None:
        self.clock.change(from_ns, rate, self._limits, speed_ahead(reference, self.clock.at(from_ns).ns))
        self.limiter.rejoin()
