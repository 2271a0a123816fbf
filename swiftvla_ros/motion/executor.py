# SPDX-License-Identifier: Apache-2.0
"""The chunk executor: chunks and measured states in, one limited joint command a tick out.

It reads no clock: times are integer nanoseconds that the caller gives, all from one clock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract, Limits
from swiftvla_ros.motion.chunk import NS, Chunk, Verdict
from swiftvla_ros.motion.codes import Mode, Reason, Refusal
from swiftvla_ros.motion.config import ExecutorConfig
from swiftvla_ros.motion.judge import judge_times, ordered_positions
from swiftvla_ros.motion.limiter import MARGIN, Limiter
from swiftvla_ros.motion.splice import SEAM_S, Plan, Reference, Rows, join_rows, rows_from_rest

Array = NDArray[np.float64]

REST_AFTER_LAST_ROW_S = 0.5
"""After the last usable row, what would not rest by then by itself is braked so that it does, where limits allow."""

LATE_TICK_S = 0.1
"""A tick that comes later than this is not made up for: the arm has stood still, so time on the path has too."""

CLOCK_JUMP_S = 1.0
"""A tick that comes later than this follows a jump of the clock; the plan is of another time."""


@dataclass(frozen=True)
class Command:
    """What every joint is commanded at one tick: arrays [J], rad or m, per s, per s²."""

    stamp_ns: int
    position: Array
    velocity: Array
    acceleration: Array


class ChunkExecutor:
    """Follows action chunks inside the limits, smoothly across their seams, and comes to rest when they stop.

    Attributes
    ----------
    mode, reason, reason_text
        Where on the ladder it is, and why.
    accepted, refused, last_refusal
        Counts of chunks, and the verdict on the last refused one.
    tracking_error
        Commanded minus measured position [J] at the last measured state; NaN before there was one.
    first_command_ns
        Time of the first command that followed the current chunk; None until there was one.
    """

    def __init__(self, limits: Limits, joint_names: tuple[str, ...], config: ExecutorConfig | None = None) -> None:
        self.joint_names = tuple(joint_names)
        self.config = config or ExecutorConfig()
        self._limits = limits
        self._tick_s = 1.0 / self.config.rate_hz
        self._limiter = Limiter(limits, self._tick_s)
        self.accepted = 0
        self.refused = 0
        self.last_refusal = Verdict()
        self.mode, self.reason, self.reason_text = Mode.IDLE, Reason.NONE, ""
        self.tracking_error: Array
        self.first_command_ns: int | None
        self._reference: Reference | None
        self._rows: Rows | None
        self._measured: Array | None
        self._command: Command | None
        self._slow_reason = Reason.NONE, ""
        self.reset()

    @classmethod
    def from_contract(cls, contract: Contract) -> ChunkExecutor:
        """Make the executor of a robot."""
        return cls(contract.limits, contract.joint_names, ExecutorConfig.from_contract(contract))

    # -- operator ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Accept chunks again after :meth:`stop`. An executor is started when made."""
        self._started = True

    def stop(self, now_ns: int, reason: Reason = Reason.STOP_REQUESTED) -> None:
        """Slow down along the path to rest, hold, and refuse chunks until :meth:`start`."""
        self._started = False
        self._slow_down(now_ns, reason, "stopped on request")

    def emergency_stop(self) -> None:
        """Brake as fast as the limits allow and refuse everything until :meth:`reset`."""
        self._reference = None
        self._enter(Mode.STOPPED, Reason.EMERGENCY_STOP, "emergency stop; ~/reset leads out once the arm rests")

    def reset(self) -> bool:
        """Go back to the beginning: nothing is commanded, the next chunk starts from the measured state.

        Returns
        -------
        bool
            False, and nothing changes, while the arm moves.
        """
        if not self._limiter.at_rest:
            return False
        self._started = True
        self._reference = None
        self._rows = None
        self._measured = None
        self._measured_ns = 0
        self._measured_invalid = False
        self._command = None
        self._ticked_ns = 0
        self._accepted_ns = 0
        self._held_since_ns = 0
        self.first_command_ns = None
        self.tracking_error = np.full(len(self.joint_names), np.nan)
        self._enter(Mode.IDLE, Reason.NO_MEASURED_STATE, "no joint state was received yet")
        return True

    # -- inputs --------------------------------------------------------------------------------------------------------

    def seed(self, position: Array, now_ns: int) -> None:
        """Begin anew, at rest at a measured position [J], for a robot that was put there."""
        self._limiter.rest_at(self._limiter.state[0])
        self.reset()
        self.measured(position, now_ns)

    def measured(self, position: Array, now_ns: int) -> bool:
        """Take note of the measured positions [J], contract order, rad or m.

        Returns
        -------
        bool
            False where they are not finite numbers, one a joint; the last good ones stay, and grow old.
        """
        q = np.asarray(position, dtype=np.float64)
        self._measured_invalid = q.shape != (len(self.joint_names),) or not bool(np.isfinite(q).all())
        if self._measured_invalid:
            return False
        self._measured, self._measured_ns = q, now_ns
        if self.mode is Mode.IDLE and self.reason is Reason.NO_MEASURED_STATE:
            self._enter(Mode.IDLE, Reason.NO_CHUNK, "waiting for a first chunk")
        reference = self._command.position if self._command is not None else q
        self.tracking_error = reference - q
        return True

    def offer(self, chunk: Chunk, now_ns: int) -> Verdict:
        """Follow ``chunk`` from now on, or say why not. A refused chunk changes nothing but the counters."""
        verdict = self._judge(chunk, now_ns)
        if not verdict.accepted:
            self.refused += 1
            self.last_refusal = verdict
        return verdict

    def tick(self, now_ns: int) -> Command | None:
        """Give the command for ``now_ns``; None while nothing is to be commanded (IDLE, RELEASED).

        Call it at ``config.rate_hz``. A little earlier or later is made up for; later than ``LATE_TICK_S``, time on the
        path has stood still; a clock that jumped ends the plan, and the arm brakes and holds.
        """
        last, self._ticked_ns = self._ticked_ns, now_ns
        if self._command is None or now_ns == last:
            return self._command
        dt = (now_ns - last) / NS
        if not 0.0 < dt <= LATE_TICK_S:
            self._bridge(now_ns, dt)
            dt = self._tick_s
        if self._reference is not None and self._state_is_stale(now_ns):
            self._slow_down(now_ns, *self._state_problem())
        self._advance(now_ns, dt)
        self._descend(now_ns)
        if self.mode is Mode.RELEASED:
            self._command = None
        else:
            self._command = Command(now_ns, *self._limiter.state.copy())
        return self._command

    # -- what it says --------------------------------------------------------------------------------------------------

    @property
    def chunk(self) -> Chunk | None:
        """The chunk being followed, or the last one that was."""
        return self._rows.chunk if self._rows is not None else None

    @property
    def chunk_id(self) -> int:
        """Its id; 0 when there was none."""
        return self._rows.chunk.chunk_id if self._rows is not None else 0

    @property
    def row(self) -> float:
        """Place between its rows at the last tick; -1 when there is none."""
        if self._reference is None or self._rows is None:
            return -1.0
        chunk, plan = self._rows.chunk, self._reference.plan
        along_ns = plan.path.origin_ns + float(plan.path_time_s(np.array([self._ticked_ns]))[0]) * NS
        return (along_ns - self._rows.delay_ns - chunk.stamp_ns) / chunk.step_ns

    def age_s(self, now_ns: int) -> float:
        """Age of its observation; -1 when there is none."""
        return (now_ns - self._rows.chunk.stamp_ns) / NS if self._rows is not None else -1.0

    @property
    def position_clamps(self) -> NDArray[np.int64]:
        """Rows [J] of accepted chunks outside the position limits, and ticks at which the reference led out of them."""
        return self._limiter.position_clamps

    @property
    def velocity_clamps(self) -> NDArray[np.int64]:
        """Ticks [J] at which the velocity limit kept the joint from the reference."""
        return self._limiter.velocity_clamps

    @property
    def acceleration_clamps(self) -> NDArray[np.int64]:
        """Ticks [J] at which the acceleration or jerk limit kept the joint from the reference."""
        return self._limiter.acceleration_clamps

    # -- inside --------------------------------------------------------------------------------------------------------

    def _judge(self, chunk: Chunk, now_ns: int) -> Verdict:
        if self.mode is Mode.STOPPED:
            return Verdict(Refusal.NOT_READY, "emergency stop is latched; call ~/reset")
        if not self._started:
            return Verdict(Refusal.NOT_READY, "the executor is stopped; call ~/start")
        if self._measured is None or self._state_is_stale(now_ns):
            return Verdict(Refusal.NOT_READY, self._state_problem()[1])
        positions = ordered_positions(chunk, self.joint_names)
        if isinstance(positions, Verdict):
            return positions
        verdict = judge_times(chunk, len(positions), self.chunk, self.config, now_ns)
        if not verdict.accepted:
            return verdict
        return self._splice(chunk, positions, self._measured, now_ns)

    def _splice(self, chunk: Chunk, positions: Array, measured: Array, now_ns: int) -> Verdict:
        """Plan the motion from the last commanded state; from a standing arm, only where the chunk begins near it."""
        commanding = self._command is not None
        standing = not commanding or self.mode is Mode.HOLD
        if commanding:
            state, state_ns, pose = self._limiter.state, self._ticked_ns, self._limiter.state[0]
        else:
            state, state_ns, pose = self._limiter.at_rest_at(measured), now_ns, measured
        inside = self._limiter.inside(positions)
        rows = rows_from_rest(chunk, inside, now_ns) if standing else join_rows(chunk, inside, self._rows, now_ns)
        until_ns = now_ns + round(self.config.tail_timeout_s * NS)
        plan = Plan.through(rows, self._limits, now_ns=state_ns, until_ns=until_ns)
        if standing:
            target = inside[0]
            gap = np.abs(target - pose)
            j = int(gap.argmax())
            if gap[j] > self.config.start_tolerance:
                return Verdict(
                    Refusal.FAR_FROM_MEASURED,
                    f"chunk {chunk.chunk_id}: its first target for joint '{self.joint_names[j]}', {target[j]:.3f}, is "
                    f"{gap[j]:.3f} from where the joint is, {pose[j]:.3f}; start_tolerance is "
                    f"{self.config.start_tolerance:g}",
                )
        if self._reference is None:
            shortest_s = self.config.soft_start_s if standing else SEAM_S
            reference = Reference.entered(plan, state, state_ns, self._limits, shortest_s)
        else:
            reference = self._reference.replaced(plan, state, state_ns, self._limits)
        if not commanding:
            self._limiter.rest_at(measured)
            self._command, self._ticked_ns = Command(now_ns, *state), now_ns
        self._limiter.rejoin()
        self._limiter.position_clamps += (np.abs(inside - positions) > 2 * MARGIN).sum(axis=0)
        self._rows, self._reference = rows, reference
        self._accepted_ns, self.first_command_ns = now_ns, None
        self.accepted += 1
        if plan.path_end_ns >= rows.end_ns:
            self._slow_reason = Reason.ROWS_EXHAUSTED, f"the rows of chunk {chunk.chunk_id} end and no newer chunk came"
        else:
            self._slow_reason = Reason.CHUNK_LATE, f"no chunk came for {self.config.tail_timeout_s:g} s"
        self._enter(Mode.FRESH, Reason.CHUNK, f"following chunk {chunk.chunk_id}")
        return Verdict()

    def _advance(self, now_ns: int, dt_s: float) -> None:
        reference = self._reference
        if reference is not None:
            rest_by_ns = reference.plan.path_end_ns + round(REST_AFTER_LAST_ROW_S * NS)
            last_chance_ns = max(rest_by_ns - round(self._limiter.longest_stop_s * NS), reference.plan.slow_ns)
            in_time = now_ns < last_chance_ns
            if in_time or reference.rest_ns <= rest_by_ns:
                self._limiter.follow(reference, now_ns, dt_s, catch_up=in_time)
                self.first_command_ns = now_ns if self.first_command_ns is None else self.first_command_ns
                return
            self._reference = None
            self._enter(Mode.DECELERATING, *self._slow_reason)
        self._limiter.brake(dt_s)

    def _slow_down(self, now_ns: int, reason: Reason, text: str) -> None:
        if self.mode is Mode.STOPPED:
            return
        self._slow_reason = reason, text
        if self._reference is None:
            self._enter(self.mode, reason, text)
            return
        slowed = self._reference.slowed_from(now_ns, self._limits)
        if slowed is not self._reference:
            self._reference = slowed
            self._limiter.rejoin()
        self._enter(Mode.DECELERATING, reason, text)

    def _bridge(self, now_ns: int, dt_s: float) -> None:
        """Go on after a tick that came late, or end the plan after a jump of the clock."""
        if self._reference is not None and 0.0 < dt_s <= CLOCK_JUMP_S and self._reference.rest_ns > now_ns:
            state_ns = now_ns - round(self._tick_s * NS)
            self._reference = self._reference.replaced(
                self._reference.plan, self._limiter.state, state_ns, self._limits
            )
            self._limiter.rejoin()
            return
        jumped = not 0.0 < dt_s <= CLOCK_JUMP_S
        if jumped:
            self._rows = self._measured = None
        if self._reference is not None or jumped:
            self._reference = None
            text = f"the clock jumped by {dt_s:.3f} s" if jumped else f"a tick came {dt_s:.3f} s late"
            if self.mode is not Mode.STOPPED:
                self._enter(Mode.HOLD if self._limiter.at_rest else Mode.DECELERATING, Reason.CLOCK_JUMP, text)
                self._held_since_ns = now_ns

    def _descend(self, now_ns: int) -> None:
        """Take the step down the ladder that is due."""
        if self._reference is not None:
            if now_ns >= self._reference.rest_ns and self._limiter.at_rest:
                self._reference = None
                self._hold(now_ns, *self._slow_reason)
            elif now_ns >= self._reference.plan.slow_ns:
                self._enter(Mode.DECELERATING, *self._slow_reason)
            elif now_ns - self._accepted_ns > self.config.fresh_s * NS:
                late_s = (now_ns - self._accepted_ns) / NS
                self._enter(
                    Mode.TAIL, Reason.CHUNK_LATE, f"following what is left of chunk {self.chunk_id}, {late_s:.1f} s"
                )
        elif self.mode is Mode.DECELERATING and self._limiter.at_rest:
            self._hold(now_ns, self.reason, self.reason_text)
        timeout = self.config.hold_timeout_s
        if self.mode is Mode.HOLD and timeout is not None and now_ns - self._held_since_ns > timeout * NS:
            self._enter(Mode.RELEASED, Reason.HOLD_TIMEOUT, f"held for {timeout:g} s without a chunk")

    def _hold(self, now_ns: int, reason: Reason, text: str) -> None:
        self._held_since_ns = now_ns
        self._enter(Mode.HOLD, reason, text)

    def _enter(self, mode: Mode, reason: Reason, text: str) -> None:
        self.mode, self.reason, self.reason_text = mode, reason, text

    def _state_is_stale(self, now_ns: int) -> bool:
        timeout = self.config.state_timeout_s
        if self._measured is None:
            return timeout is not None
        return timeout is not None and now_ns - self._measured_ns > timeout * NS

    def _state_problem(self) -> tuple[Reason, str]:
        if self._measured_invalid:
            return Reason.STATE_INVALID, "the joint state holds a number that is not finite, or not one number a joint"
        if self._measured is None:
            return Reason.NO_MEASURED_STATE, "no joint state was received yet"
        return Reason.STATE_STALE, f"no joint state for more than {self.config.state_timeout_s:g} s"
