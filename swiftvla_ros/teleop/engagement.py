# SPDX-License-Identifier: Apache-2.0
"""From a person's "now" to an arm that follows: near or far, over a policy or from rest, and what ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.executor_codes import ChunkSource, Mode, Reason
from swiftvla_ros.contract.turns import nearest
from swiftvla_ros.motion.planning.chunk_planner import approach_duration_s
from swiftvla_ros.motion.smooth_step import smooth_step
from swiftvla_ros.teleop.hand import OperatorHand, OperatorRows, TeleopPhase

Array = NDArray[np.float64]

NS = 1_000_000_000

_RESTING = (Mode.IDLE, Mode.HOLD, Mode.RELEASED)
# The executor is given so long to rest, and to follow what it is sent.
_REST_WITHIN_S, _PATIENCE_NS = 4.0, 400_000_000
_GAP_NS = 200_000_000


@dataclass(frozen=True)
class Follower:
    """What the executor said last: where the arm is commanded, or measured where nothing is commanded [J], and why."""

    pose: Array
    mode: int
    reason: int
    text: str
    source: int

    @property
    def follows_operator(self) -> bool:
        """Whether it moves as an operator's chunks say."""
        moving = self.mode in (Mode.FRESH, Mode.TAIL) and self.reason != Reason.PAUSED
        return moving and self.source == ChunkSource.OPERATOR


class Engagement:
    """Lets a ``hand`` lead the arm, between :meth:`engage` and :meth:`release`.

    Nothing is sent before an engagement, and each one is armed anew: what ends it by itself (a silent or jumping
    leader, an executor that is stopped) leaves the arm held, with the operator still having it. ``take_over`` and
    ``give_back`` are told to the executor.

    Attributes
    ----------
    phase, reason
        Where it is, and why, in a sentence.
    """

    def __init__(
        self,
        contract: Contract,
        hand: OperatorHand,
        far: Literal["approach", "refuse"],
        take_over: Callable[[], None],
        give_back: Callable[[], None],
    ) -> None:
        self._names, self._limits, self._control = contract.joint_names, contract.limits, contract.control
        self._hand, self._far = hand, far
        self._take_over, self._give_back = take_over, give_back
        self._follower: Follower | None = None
        self._began_ns = self._followed_ns = 0
        self._sending_ns = self._sent_ns = 0  # since when rows are sent without a gap, and last
        self._from: Array | None = None
        self._approach_s = 0.0
        self.phase = TeleopPhase.RELEASED
        self.reason = "waits for ~/engage"

    @property
    def engaged(self) -> bool:
        """Whether a person leads, or is about to."""
        return self.phase in (TeleopPhase.STOPPING, TeleopPhase.APPROACHING, TeleopPhase.FOLLOWING)

    @property
    def distance(self) -> Array | None:
        """Leader minus follower [J]; None where either is unknown."""
        target = self._hand.target()
        if target is None or self._follower is None:
            return None
        return np.asarray(nearest(target, self._follower.pose, self._limits.continuous) - self._follower.pose)

    def approach_left_s(self, now_ns: int) -> float:
        """How long the approach takes still; 0 where there is none."""
        if self.phase is not TeleopPhase.APPROACHING:
            return 0.0
        return max(0.0, self._approach_s - (now_ns - self._began_ns) / NS)

    # -- what people do ------------------------------------------------------------------------------------------------

    def engage(self, now_ns: int) -> tuple[bool, str]:
        """Let the hand lead from now on; also over a policy that moves the arm. Returns whether it does, and why."""
        if self.engaged:
            return True, f"engaged already: {self.reason}"
        follower = self._follower
        if follower is None:
            return False, "executor_state, or a measured pose, did not come yet; is the trajectory executor running?"
        if follower.mode == Mode.STOPPED or follower.reason == Reason.PAUSED:
            return False, f"the executor does not move: {follower.text}"
        self._hand.arm()
        if problem := self._hand.problem(now_ns):
            return False, problem
        far = self._far_text()
        if far and self._far == "refuse":
            return False, f"{far}; bring the leader near the arm, or write far_leader: approach"
        if not far and self._hand.target() is not None:
            self._lead(now_ns, TeleopPhase.FOLLOWING, "following")
            return True, self.reason
        self._began_ns, self.phase = now_ns, TeleopPhase.STOPPING
        # A jog, too: it begins where the arm rests, and until it moves nothing else may.
        self.reason = f"waits until the arm rests{': ' + far if far else ''}"
        self._take_over()
        return True, self.reason

    def release(self) -> tuple[bool, str]:
        """Lead no more, and let the policy have the arm again."""
        self.phase, self.reason = TeleopPhase.RELEASED, "released; waits for ~/engage"
        self._give_back()
        return True, "the arm is given back: a policy that runs goes on from here, else it holds"

    # -- what happens --------------------------------------------------------------------------------------------------

    def follower(self, follower: Follower, now_ns: int) -> None:
        """Take note of what the executor says."""
        self._follower = follower
        if follower.follows_operator:
            self._followed_ns = now_ns

    def watch(self, now_ns: int) -> None:
        """Take the step that is due, and look for what ends an engagement; some ten times a second, or more."""
        if not self.engaged or self._follower is None:
            return
        if problem := self._hand.problem(now_ns):
            self.hold(problem)
        elif self.phase is TeleopPhase.STOPPING:
            self._when_it_rests(now_ns, self._follower)
        elif self._in_vain(now_ns):
            self.hold(f"the executor does not follow: {self._follower.text}")
        elif self.phase is TeleopPhase.APPROACHING and self.approach_left_s(now_ns) == 0.0:
            self.phase, self.reason = TeleopPhase.FOLLOWING, "following"

    def rows(self, now_ns: int) -> OperatorRows | None:
        """What is to be sent to the executor now, if anything."""
        if self.phase not in (TeleopPhase.APPROACHING, TeleopPhase.FOLLOWING):
            return None
        self.watch(now_ns)
        rows = self._hand.rows(now_ns) if self.engaged else None
        if rows is not None:
            self._sending_ns = self._sending_ns if now_ns - self._sent_ns < _GAP_NS else now_ns
            self._sent_ns = now_ns
        if rows is None or self.phase is TeleopPhase.FOLLOWING or self._from is None:
            return rows
        times = (rows.stamp_ns - self._began_ns + rows.step_ns * np.arange(len(rows.positions))) / NS
        u = np.clip(times / self._approach_s, 0.0, 1.0)[:, None]
        return replace(rows, positions=self._from + smooth_step(u) * (rows.positions - self._from))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _when_it_rests(self, now_ns: int, follower: Follower) -> None:
        if follower.mode == Mode.STOPPED:
            self.hold(f"the executor does not move: {follower.text}")
        elif follower.mode in _RESTING:
            gap = self.distance
            if gap is None or not self._far_text():
                self._lead(now_ns, TeleopPhase.FOLLOWING, "following")
                return
            self._from = follower.pose.copy()
            self._approach_s = approach_duration_s(gap, self._limits, self._control.approach_s)
            self._lead(now_ns, TeleopPhase.APPROACHING, f"{self._far_text()}: goes there in {self._approach_s:.1f} s")
        elif now_ns - self._began_ns > _REST_WITHIN_S * NS:
            self.hold(f"the arm did not come to rest: {follower.text}")

    def _lead(self, now_ns: int, phase: TeleopPhase, reason: str) -> None:
        assert self._follower is not None
        self._hand.begin(self._follower.pose, now_ns)
        self._began_ns, self._sent_ns = now_ns, 0
        self.phase, self.reason = phase, reason

    def _in_vain(self, now_ns: int) -> bool:
        """Whether rows are sent, and the executor doesn't follow them."""
        sending = now_ns - self._sent_ns < _GAP_NS
        return sending and now_ns - max(self._followed_ns, self._sending_ns) > _PATIENCE_NS

    def hold(self, why: str) -> None:
        """Lead no more, and keep the arm where it comes to rest."""
        self.phase = TeleopPhase.HELD
        self.reason = f"{why}. The arm holds; ~/engage leads on, ~/release gives it back"

    def _far_text(self) -> str:
        """The joint that is farthest, where that is farther than the contract's start tolerance."""
        gap = self.distance
        if gap is None or self._follower is None:
            return ""
        j, tolerance = int(np.abs(gap).argmax()), self._control.start_tolerance_rad
        if abs(gap[j]) <= tolerance:
            return ""
        at = self._follower.pose[j]
        return (
            f"joint '{self._names[j]}' is at {at:.3f}, the leader at {at + gap[j]:.3f}, farther than "
            f"start_tolerance_rad, {tolerance:g}"
        )
