# SPDX-License-Identifier: Apache-2.0
"""The chunk executor: chunks and measured states in, one limited joint command a tick out.

It reads no clock: times are integer nanoseconds that the caller gives, all from one clock.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract, Limits
from swiftvla_ros.contract.executor_codes import ChunkSource, Mode, Reason
from swiftvla_ros.contract.turns import nearest
from swiftvla_ros.motion.chunk import NS, AcceptedChunk, ChunkRefused, Command, JointChunk, MotionStart, OfferResult
from swiftvla_ros.motion.chunk_acceptance import ChunkAcceptance, Situation
from swiftvla_ros.motion.config import ExecutorConfig
from swiftvla_ros.motion.executor_status import ExecutorStatus
from swiftvla_ros.motion.following.follower import PathFollower
from swiftvla_ros.motion.following.path_clock import PathClock
from swiftvla_ros.motion.measured_state import MeasuredState
from swiftvla_ros.motion.operator_grip import OperatorGrip
from swiftvla_ros.motion.planning.chunk_planner import ChunkPlanner, PathTimes, PlannedChunk
from swiftvla_ros.motion.planning.command_history import CommandHistory
from swiftvla_ros.motion.speed_limits import OPERATOR, SourceLimit, SpeedLimits
from swiftvla_ros.motion.state_machine import StateMachine
from swiftvla_ros.motion.tracking_watch import TrackingWatch

Array = NDArray[np.float64]

LATE_TICK_S = 0.1
"""A tick that comes later than this is not made up for: the arm has stood still, so time on the path has too."""

CLOCK_JUMP_S = 1.0
"""A tick that comes later than this follows a jump of the clock; the plan is of another time."""


class ChunkExecutor(ExecutorStatus):
    """Follows action chunks inside the limits, smoothly across their seams, and comes to rest when they stop.

    Attributes
    ----------
    accepted, refused, last_refusal
        Counts of chunks, and what was said to the last refused one.
    speed_limits
        How fast it may run along the path; a new scale is gone to smoothly, and 0 stands on the path.
    tracking_error
        Commanded minus measured position [J] at the last measured state; NaN before there was one.
    taken_ns
        When the current chunk was taken over; 0 when there was none.
    first_command_ns
        Time of the first command that followed the current chunk; None until there was one.
    position_clamps, velocity_clamps, acceleration_clamps
        Counts [J]: rows of accepted chunks outside the position limits, and ticks at which the reference led out of
        them; ticks at which the velocity limit, or the acceleration or jerk limit, kept the joint from the reference.
    limit_excess
        How far [J], rad or m, the limits have bent the motion away from the plan, at worst.
    """

    def __init__(self, limits: Limits, joint_names: tuple[str, ...], config: ExecutorConfig | None = None) -> None:
        self.joint_names = tuple(joint_names)
        self.config = config or ExecutorConfig()
        self._tick_s = 1.0 / self.config.rate_hz
        self.speed_limits = SpeedLimits()
        self._follower = PathFollower(limits, self._tick_s, self.speed_limits)
        self.accepted = 0
        self.refused = 0
        self.last_refusal = OfferResult()
        self._machine = StateMachine(self.config.fresh_s, self.config.tail_timeout_s, self.config.hold_timeout_s)
        self._grip = OperatorGrip()
        self._measured = MeasuredState(len(self.joint_names), self.config.state_timeout_s)
        self._continuous = limits.continuous
        self._watch = TrackingWatch(self.joint_names, self.config)
        self._history = CommandHistory(len(self.joint_names), self.config.rate_hz)
        limiter = self._follower.limiter
        self.position_clamps, self.velocity_clamps = limiter.position_clamps, limiter.velocity_clamps
        self.acceleration_clamps, self.limit_excess = limiter.acceleration_clamps, limiter.limit_excess
        self._acceptance = ChunkAcceptance(self.joint_names, limiter.low, limiter.high, self.config)
        self._planner = ChunkPlanner(limits, self.joint_names, self.config)
        self.tracking_error: Array
        self.first_command_ns: int | None
        self._command: Command | None
        self._untold: AcceptedChunk | None  # taken from the measured pose, and nothing was commanded yet
        self.reset()

    @classmethod
    def from_contract(cls, contract: Contract, *, shadow: bool = False) -> ChunkExecutor:
        """Make the executor of a robot, or a ``shadow`` that nobody obeys."""
        return cls(contract.limits, contract.joint_names, ExecutorConfig.from_contract(contract, shadow=shadow))

    # -- operator ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Accept chunks again after :meth:`stop`. An executor is started when made."""
        self._machine.start()

    def stop(self, reason: Reason = Reason.STOP_REQUESTED) -> None:
        """Slow down along the path to rest from the last tick on, hold, and refuse chunks until :meth:`start`."""
        self._machine.stop()
        self._slow_down(self._ticked_ns, reason, "stopped on request")

    def emergency_stop(self) -> None:
        """Brake as fast as the limits allow and refuse everything until :meth:`reset`."""
        self._follower.drop()
        self._machine.emergency_stop()

    def take_over(self) -> None:
        """Let an operator have the arm: what the policy began slows down to rest, and its chunks are refused."""
        self._grip.take()
        if self.chunk is not None and self.chunk.source is ChunkSource.POLICY and self._follower.reference is not None:
            self._slow_down(self._ticked_ns, Reason.TAKEN_OVER, "an operator takes over")

    def give_back(self, now_ns: int) -> None:
        """Let the policy have the arm again, by what it sees from now on; until then the operator's rows go on."""
        self._grip.give_back(now_ns)

    def set_speed_scale(self, scale: float) -> bool:
        """Set the operator's share of the planned speed, 0 … 1; False, and nothing changes, where it is no such."""
        return self.speed_limits.set(SourceLimit(OPERATOR, scale))

    def reset(self) -> bool:
        """Go back to the beginning: nothing is commanded, the next chunk starts from the measured state.

        Who holds the arm does not change: after an emergency stop of an operator's the policy is still kept off.

        Returns
        -------
        bool
            False, and nothing changes, while the arm moves.
        """
        if not self._follower.limiter.at_rest:
            return False
        self._follower.drop()
        self._measured.reset()
        self._ticked_ns = self._approach_until_ns = 0
        self._command = self._untold = None
        self.taken_ns = 0
        self.first_command_ns = None
        self.tracking_error = np.full(len(self.joint_names), np.nan)
        self._forget_time()
        self._machine.reset()
        return True

    def let_go(self) -> None:
        """Command nothing more from where a latched stop came to rest: the arm may be elsewhere by now."""
        if self._follower.limiter.at_rest:
            self._command = None

    # -- inputs --------------------------------------------------------------------------------------------------------

    def seed(self, position: Array, now_ns: int, *, holding: bool = False) -> None:
        """Begin anew, at rest at a measured position [J], for a robot that was put there, or is held there."""
        self._follower.limiter.rest_at(position if holding else self._follower.state[0])
        self.reset()
        self.measured(position, now_ns)
        if holding:
            self._command, self._ticked_ns = Command(now_ns, *self._follower.state.copy()), now_ns
            self._machine.hold(now_ns)

    def measured(self, position: Array, stamp_ns: int, now_ns: int | None = None) -> bool:
        """Take note of positions [J] measured at ``stamp_ns``, contract order, rad or m. ``now_ns``: where it is known.

        Returns
        -------
        bool
            False where they are not finite numbers, one a joint: the last good ones stay, and grow old. Also where
            they are older than the last, or of the future: a state of another time changes nothing.
        """
        if not self._measured.take(position, stamp_ns, now_ns):
            return False
        q = self._measured.position
        assert q is not None
        self._machine.measured()
        if self._command is None:
            self.tracking_error = np.zeros_like(q)
            return True
        q = nearest(q, self._command.position, self._continuous)
        self.tracking_error = self._command.position - q
        if self.mode is not Mode.STOPPED and not self._machine.latched:
            paused = self.speed_limits.scale == 0.0
            wrong = self._watch.look(q, self._command.position, stamp_ns, paused=paused)
            if wrong is not None:
                self._machine.latch(wrong[1])
                self._slow_down(self._ticked_ns, *wrong)
        return True

    def offer(self, chunk: JointChunk, now_ns: int) -> OfferResult:
        """Follow ``chunk`` from now on, or say why not. A refused chunk changes nothing but the counters."""
        try:
            accepted = self.accept(chunk, now_ns)
        except ChunkRefused as refused:
            self.refused += 1
            self.last_refusal = refused.result
            return refused.result
        self.follow(self.plan(accepted))
        self.accepted += 1
        return OfferResult()

    def accept(self, chunk: JointChunk, now_ns: int) -> AcceptedChunk:
        """Check a chunk against the contract, the clock, the chunk that is followed and where the arm is.

        Raises
        ------
        ChunkRefused
            It is not to be followed.
        """
        grip, follower, measured = self._grip, self._follower, self._measured.position
        problem = self._measured.problem[1] if measured is None or self._measured.stale(now_ns) else ""
        change = self.chunk is not None and self.chunk.source is not chunk.source
        path_age_s, approaching, start = None, "", None
        if follower.reference is not None:
            path_ns = follower.clock.at(now_ns).ns
            path_age_s = (path_ns - follower.clock.at(chunk.stamp_ns).ns) / NS
            if path_ns < self._approach_until_ns:
                approaching = f"the arm still approaches where chunk {self.chunk_id} begins"
        if self._command is not None:
            state = follower.limiter.state
            start = MotionStart(now_ns, state, self._ticked_ns, state[0], standing=self.mode is Mode.HOLD)
        elif measured is not None:
            start = self._start_at(measured, now_ns)
        situation = Situation(
            closed=self._machine.closed,
            held=grip.held,
            gave_back_ns=grip.gave_back_ns,
            not_ready=problem or approaching,
            current=grip.newest.get(chunk.source) if change else self.chunk,
            changes_source=change,
            path_age_s=path_age_s,
            start=start,
        )
        return self._acceptance.accept(chunk, situation)

    def plan(self, accepted: AcceptedChunk) -> PlannedChunk:
        """Plan the motion that an accepted chunk asks for. Nothing changes."""
        start = accepted.start
        # As in follow: between the two calls the speed limits stay as they are.
        clock = self._clock_from(start)
        times = (clock.at(ns).ns for ns in (start.now_ns, start.state_ns, accepted.chunk.stamp_ns))
        return self._planner.plan(accepted, self._planned, PathTimes(*times))

    def follow(self, planned: PlannedChunk) -> None:
        """Go over to a planned motion from the last command on."""
        accepted, anew = planned.accepted, self._command is None
        start, chunk = accepted.start, accepted.chunk
        self._follower.follow(planned, self._clock_from(start), anew=anew)
        if anew:
            self._command, self._ticked_ns = Command(start.now_ns, *start.state), start.now_ns
            self._untold = accepted
            self._watch.forget()
        self._grip.follow(chunk)
        self._planned, self._approach_until_ns = planned, planned.approach_until_ns
        self.taken_ns, self.first_command_ns = start.now_ns, None
        at_the_end = planned.at_the_end or (Reason.CHUNK_LATE, self._late_text())
        approach_s = planned.approach_s / max(self.speed_limits.scale, 0.01)
        self._machine.follow(start.now_ns, chunk.name, at_the_end, approach_s)

    def tick(self, now_ns: int) -> Command | None:
        """Give the command for ``now_ns``; None while nothing is to be commanded (IDLE, RELEASED).

        Call it at ``config.rate_hz``. A little earlier or later is made up for; later than ``LATE_TICK_S``, time on the
        path has stood still; a clock that jumped ends the plan, and the arm brakes and holds.
        """
        last_ns, self._ticked_ns = self._ticked_ns, now_ns
        self.speed_limits.expire(now_ns)
        if self._command is None:
            if now_ns < last_ns:
                self._forget_time()
            self._machine.wait(self._measured.problem[1] if self._measured.stale(now_ns) else "")
            return None
        if self._untold is not None and self._begins_anew(self._untold, now_ns, (now_ns - last_ns) / NS):
            return self._command
        if now_ns == last_ns:
            return self._command
        dt = (now_ns - last_ns) / NS
        if not 0.0 < dt <= LATE_TICK_S:
            self._bridge(now_ns, dt)
            dt = self._tick_s
            last_ns = now_ns - round(dt * NS)
        follower = self._follower
        follower.run_clock(last_ns, slowing=self.mode is Mode.DECELERATING)
        if follower.reference is not None and self._measured.stale(now_ns):
            self._slow_down(now_ns, *self._measured.problem)
        if not follower.advance(now_ns, dt):
            self._machine.off_the_path()
        elif follower.reference is not None and self.first_command_ns is None:
            self.first_command_ns = now_ns
        self._descend(now_ns)
        if self.mode is Mode.RELEASED:
            self._command = None
        else:
            self._command = Command(now_ns, *follower.state.copy())
            self._history.note(follower.clock.at(now_ns).ns, self._command.position)
        return self._command

    # -- inside --------------------------------------------------------------------------------------------------------

    def _start_at(self, measured: Array, now_ns: int) -> MotionStart:
        state = self._follower.limiter.at_rest_at(measured)
        return MotionStart(now_ns, state, now_ns, measured, standing=True)

    def _clock_from(self, start: MotionStart) -> PathClock:
        """The clock of a motion: where nothing is followed, path time begins anew with it."""
        follower = self._follower
        if follower.reference is not None:
            return follower.clock
        return follower.clock.restarted(start.state_ns, self.speed_limits.scale)

    def _begins_anew(self, untold: AcceptedChunk, now_ns: int, dt_s: float) -> bool:
        """Whether the arm, or the clock, was moved after a chunk was taken and before the first command.

        Then the motion begins where the arm is now; a chunk that is refused from there moves nothing.
        """
        self._untold, measured, limiter = None, self._measured.position, self._follower.limiter
        jumped = not 0.0 <= dt_s <= CLOCK_JUMP_S
        if not jumped and (measured is None or limiter.in_reach(measured)):
            return False
        follows = self._follower.reference is not None and not self._machine.closed
        self._follower.drop()
        if measured is not None and not jumped and not follows:  # stopped meanwhile
            limiter.rest_at(measured)
            self._command = Command(now_ns, *limiter.state.copy())
            return True
        self._command, self._planned, self.taken_ns = None, None, 0
        if measured is None or jumped:
            self._forget_time()
            self._machine.not_begun()
            return True
        try:
            start = self._start_at(measured, now_ns)
            situation = Situation("", self._grip.held, self._grip.gave_back_ns, start=start)
            accepted = self._acceptance.accept(untold.chunk, situation)
        except ChunkRefused as refused:
            self.accepted, self.refused, self.last_refusal = self.accepted - 1, self.refused + 1, refused.result
            self._machine.not_begun()
            self._machine.measured()
            return True
        self.follow(self.plan(accepted))
        self._untold = None
        return True

    def _slow_down(self, now_ns: int, reason: Reason, text: str) -> None:
        self._machine.slow_down(reason, text, following=self._follower.reference is not None)
        self._follower.slow_down(now_ns, self._ticked_ns)

    def _bridge(self, now_ns: int, dt_s: float) -> None:
        """Go on after a tick that came late, or end the plan after a jump of the clock."""
        jumped = not 0.0 < dt_s <= CLOCK_JUMP_S
        if not jumped and self._follower.stalled(now_ns):
            return
        if self._follower.reference is not None or jumped:
            self._follower.drop()
            text = f"the clock jumped by {dt_s:.3f} s" if jumped else f"a tick came {dt_s:.3f} s late"
            self._machine.clock_jumped(now_ns, text, resting=self._follower.limiter.at_rest)
        if jumped:
            self._forget_time()

    def _forget_time(self) -> None:
        """What was noted by a clock that jumped, or before a reset, says nothing any more."""
        self._planned = None
        self._grip.forget_time()
        self._measured.forget()
        self._follower.forget_time()
        self._watch.forget()
        self._history.forget()

    def _descend(self, now_ns: int) -> None:
        """Take the step towards rest that is due."""
        follower = self._follower
        if follower.reference is not None and not follower.halting and self._machine.overdue(now_ns):
            now = follower.clock.at(now_ns)
            # at full speed the plan has its own slow-down in it
            if now.rate < 1.0 and now.ns >= self._approach_until_ns:
                self._slow_down(now_ns, Reason.CHUNK_LATE, self._late_text())
        facts = follower.facts(now_ns)
        self._machine.tick(now_ns, facts)
        if facts.arrived:
            follower.drop()

    def _late_text(self) -> str:
        return f"no chunk came for {self.config.tail_timeout_s:g} s"
