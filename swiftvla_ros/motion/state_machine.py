# SPDX-License-Identifier: Apache-2.0
"""The state machine: mode, reason, and every way from one mode to another.

::

                    chunk                     no chunk for fresh_s
      IDLE ────────────────────────▶ FRESH ───────────────────────────▶ TAIL
       ▲                             ▲ ▲ ▲                               │
       │ reset        a chunk from   │ │ │    the rows end, or no chunk  │  the same from FRESH;
       │              every mode     │ │ │    for tail_timeout_s, or     │  emergency_stop from
    STOPPED           of these      │ │ │    stop, or a watch           │  every mode: STOPPED
                                     │ │ └────────── DECELERATING ◀──────┘
                                     │ │                  │ the arm rests
                                     │ └──────────────── HOLD
                                     │                    │ hold_timeout_s
                                     └───────────────── RELEASED

It knows no joints, no paths and no clock: the executor tells it what happens and, once a tick, what is the case
(:class:`Facts`). What it answers is the mode, why it is that, and whether a chunk may be followed at all.
"""

from __future__ import annotations

from typing import NamedTuple

from swiftvla_ros.contract.executor_codes import Mode, Reason
from swiftvla_ros.motion.chunk import NS


class Facts(NamedTuple):
    """What is the case at a tick."""

    following: bool = False  # a path
    slowing: bool = False  # its slow-down to rest has begun
    arrived: bool = False  # it is over or stands still for good, and the arm rests
    resting: bool = False
    paused: bool = False  # the speed scale is 0 and the arm stands on its path


class StateMachine:
    """The ``mode`` that an arm is in, the ``reason``, and the same for people as ``text``.

    The times are as in :class:`~swiftvla_ros.motion.config.ExecutorConfig`.
    """

    def __init__(self, fresh_s: float, tail_timeout_s: float, hold_timeout_s: float | None) -> None:
        self._fresh_s, self._tail_timeout_s, self._hold_timeout_s = fresh_s, tail_timeout_s, hold_timeout_s
        self.reset()

    # -- what people do ------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Any mode → IDLE, with nothing remembered. Only for an arm that rests."""
        self._stopped = False
        self._latched = ""
        self._chunk = "no chunk"
        self._followed_ns = 0
        self._held_ns = 0
        self._at_the_end: tuple[Reason, str] = Reason.NONE, ""
        self._enter(Mode.IDLE, Reason.NO_MEASURED_STATE, "no joint state was received yet")

    def start(self) -> None:
        """Let chunks in again after :meth:`stop`."""
        self._stopped = False
        if self.mode is Mode.IDLE and self.reason is Reason.STOP_REQUESTED:
            self._enter(Mode.IDLE, Reason.NO_CHUNK, "waiting for a first chunk")

    def stop(self) -> None:
        """Let no chunk in until :meth:`start`. The way down is :meth:`slow_down`."""
        self._stopped = True

    def emergency_stop(self) -> None:
        """Any mode → STOPPED."""
        self._enter(Mode.STOPPED, Reason.EMERGENCY_STOP, "emergency stop; ~/reset leads out once the arm rests")

    @property
    def closed(self) -> str:
        """Why no chunk may be followed; empty while one may."""
        if self.mode is Mode.STOPPED:
            return "emergency stop is latched; call ~/reset"
        if self._latched:
            return self._latched
        return "the executor is stopped; call ~/start" if self._stopped else ""

    # -- what happens --------------------------------------------------------------------------------------------------

    def measured(self) -> None:
        """A joint state came: IDLE waits for a chunk from now on."""
        if self.mode is Mode.IDLE and self.reason is Reason.NO_MEASURED_STATE:
            self._enter(Mode.IDLE, Reason.NO_CHUNK, "waiting for a first chunk")

    def hold(self, now_ns: int) -> None:
        """IDLE → HOLD: the arm is held where it is, before any chunk."""
        self._held_ns = now_ns
        self._enter(Mode.HOLD, Reason.NO_CHUNK, "waiting for a first chunk")

    def wait(self, problem: str) -> None:
        """Nothing is commanded: IDLE says whether a chunk could begin, or that the joint state is not fresh."""
        if self.mode is Mode.IDLE and self.reason is Reason.NO_MEASURED_STATE and problem:
            self._enter(Mode.IDLE, Reason.NO_MEASURED_STATE, problem)
        elif self.mode is Mode.IDLE and self.reason in (Reason.NO_CHUNK, Reason.NOT_ARMED):
            if problem:
                self._enter(Mode.IDLE, Reason.NOT_ARMED, problem)
            elif self.reason is Reason.NOT_ARMED:
                self._enter(Mode.IDLE, Reason.NO_CHUNK, "waiting for a first chunk")

    def follow(self, now_ns: int, chunk: str, at_the_end: tuple[Reason, str], approach_s: float = 0.0) -> None:
        """A chunk of that name is taken: any mode but STOPPED → FRESH. ``at_the_end`` is why its rows will end.

        For ``approach_s`` the arm only goes to where the chunk begins; patience begins after that.
        """
        self._at_the_end = at_the_end
        self._chunk = chunk
        self._followed_ns = now_ns + round(approach_s * NS)
        self._enter(Mode.FRESH, Reason.CHUNK, f"{'approaching' if approach_s else 'following'} {self._chunk}")

    def slow_down(self, reason: Reason, text: str, *, following: bool) -> None:
        """Stop, a missing state, a watch: FRESH, TAIL → DECELERATING. What rests stays where it is, and says so."""
        if self.mode is Mode.STOPPED:
            return
        self._at_the_end = reason, text
        self._enter(Mode.DECELERATING if following else self.mode, reason, text)

    def latch(self, text: str) -> None:
        """A watch: no chunk is let in until :meth:`reset`. The way down is :meth:`slow_down`."""
        self._latched = text

    @property
    def latched(self) -> bool:
        """Whether only :meth:`reset` lets chunks in again."""
        return bool(self._latched)

    def not_begun(self) -> None:
        """A chunk that was taken is not followed after all, before any command: every mode but STOPPED → IDLE."""
        if self.mode is not Mode.STOPPED:
            self._enter(Mode.IDLE, Reason.NO_MEASURED_STATE, "no joint state was received yet")

    def off_the_path(self) -> None:
        """The path ends before the arm would rest on it: FRESH, TAIL → DECELERATING."""
        self._enter(Mode.DECELERATING, *self._at_the_end)

    def clock_jumped(self, now_ns: int, text: str, *, resting: bool) -> None:
        """The plan was of another time: any mode but STOPPED → DECELERATING, or HOLD where the arm rests."""
        if self.mode is not Mode.STOPPED:
            self._held_ns = now_ns
            self._enter(Mode.HOLD if resting else Mode.DECELERATING, Reason.CLOCK_JUMP, text)

    # -- time ----------------------------------------------------------------------------------------------------------

    def overdue(self, now_ns: int) -> bool:
        """Whether rows were followed for as long as they may be without a newer chunk."""
        return now_ns - self._followed_ns > self._tail_timeout_s * NS

    def tick(self, now_ns: int, facts: Facts) -> None:
        """Take the step that is due."""
        if facts.following and self.mode is not Mode.STOPPED:
            self._follow_on(now_ns, facts)
        elif self.mode is Mode.DECELERATING and facts.resting:
            self._hold(now_ns, self.reason, self.text)
        timeout = self._hold_timeout_s
        if self.mode is Mode.HOLD and timeout is not None and now_ns - self._held_ns > timeout * NS:
            self._enter(Mode.RELEASED, Reason.HOLD_TIMEOUT, f"held for {timeout:g} s without a chunk")

    def _follow_on(self, now_ns: int, facts: Facts) -> None:
        late_s = (now_ns - self._followed_ns) / NS
        if facts.arrived:
            self._hold(now_ns, *self._at_the_end)
        elif facts.slowing:
            self._enter(Mode.DECELERATING, *self._at_the_end)
        elif late_s > self._fresh_s:
            text = f"following what is left of {self._chunk}, {late_s:.1f} s"
            self._enter(Mode.TAIL, Reason.CHUNK_LATE, text)
        elif self.reason is Reason.PAUSED:
            self._enter(Mode.FRESH, Reason.CHUNK, f"following {self._chunk}")
        if facts.paused and self.mode in (Mode.FRESH, Mode.TAIL):
            self._enter(self.mode, Reason.PAUSED, f"speed scale 0: standing on the path of {self._chunk}")

    def _hold(self, now_ns: int, reason: Reason, text: str) -> None:
        self._held_ns = now_ns
        self._enter(Mode.HOLD, reason, text)

    def _enter(self, mode: Mode, reason: Reason, text: str) -> None:
        self.mode, self.reason, self.text = mode, reason, text
