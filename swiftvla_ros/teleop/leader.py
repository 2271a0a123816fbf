# SPDX-License-Identifier: Apache-2.0
"""A leader arm: its poses checked, and where it goes next."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.clock_offset import off_clock_text
from swiftvla_ros.contract.turns import nearest
from swiftvla_ros.teleop.hand import OperatorRows
from swiftvla_ros.teleop.prediction import LeaderPrediction, PredictionSettings

Array = NDArray[np.float64]

NS = 1_000_000_000

_JUMP_RAD, _JUMP_RAD_S, _JUMP_S = 0.1, 15.0, 0.03
"""A pose farther from the one before than this, and what the fastest hand moves meanwhile (reckoned for no longer than
the last), is none of that hand's."""

SLOW_HZ = 20.0
"""A leader that is slower than this is followed in jerks."""

_JUMPED_AFTER = 3  # poses in a row on the other side: not one bad reading, the leader is elsewhere


class LeaderArm:
    """Takes a leader's poses in and draws rows from them.

    A single pose that jumps is left out; one that stays where it jumped ends the engagement.

    Attributes
    ----------
    refused, last_refusal
        Poses that were left out, and why the last was.
    rate_hz
        Poses a second, over the last second or so; 0 before there are two.
    """

    def __init__(self, contract: Contract, prediction: PredictionSettings | None = None) -> None:
        self._names, self._topic = contract.joint_names, contract.leader.topic
        self._continuous = contract.limits.continuous
        self._silent_s = contract.policy.max_state_age_s  # the follower has come to rest by then
        self._prediction = LeaderPrediction(prediction)
        self._pose: Array | None = None
        self._stamp_ns = self._arrived_ns = 0
        self._elsewhere = 0
        self._jump = ""
        self._drawn_ns = 0
        self.refused = 0
        self.last_refusal = ""
        self.rate_hz = 0.0

    @property
    def age_s(self) -> float:
        """How old the newest pose was when it arrived, by its stamp; negative before there was one."""
        return (self._arrived_ns - self._stamp_ns) / NS if self._pose is not None else -1.0

    def refuse(self, why: str) -> None:
        """Count a message that is no pose."""
        self.refused, self.last_refusal = self.refused + 1, why

    def take(self, pose: Array, stamp_ns: int, now_ns: int) -> bool:
        """Take a pose [J], rad or m, in; False where it is left out. A zero stamp says nothing: arrival counts."""
        stamp_ns = stamp_ns or now_ns
        if clock := off_clock_text((stamp_ns - now_ns) / NS, self._silent_s):
            return self._leave_out(f"{self._topic}: a pose is {clock}")
        if self._pose is None or now_ns - self._arrived_ns > self._silent_s * NS:
            return self._accept(pose, stamp_ns, now_ns, anew=True)
        if stamp_ns <= self._stamp_ns:
            return self._leave_out(f"{self._topic}: a pose is not newer than the one before; is it published twice?")
        pose = nearest(pose, self._pose, self._continuous)
        gap = np.abs(pose - self._pose)
        j = int(gap.argmax())
        if gap[j] <= _JUMP_RAD + _JUMP_RAD_S * min((stamp_ns - self._stamp_ns) / NS, _JUMP_S):
            return self._accept(pose, stamp_ns, now_ns)
        text = f"{self._topic}: joint '{self._names[j]}' jumped from {self._pose[j]:.3f} to {pose[j]:.3f}"
        self._elsewhere += 1
        if self._elsewhere >= _JUMPED_AFTER:
            self._accept(pose, stamp_ns, now_ns, anew=True)
            self._jump = f"{text}; look for a slipping or unplugged servo of the leader, then engage again"
        return self._leave_out(text)

    def _accept(self, pose: Array, stamp_ns: int, now_ns: int, *, anew: bool = False) -> bool:
        if anew:
            self._prediction.forget()
            self.rate_hz = 0.0
        else:
            hz = NS / (stamp_ns - self._stamp_ns)
            self.rate_hz = hz if self.rate_hz == 0.0 else self.rate_hz + min(1.0 / hz, 1.0) * (hz - self.rate_hz)
        self._pose, self._stamp_ns, self._arrived_ns, self._elsewhere = pose, stamp_ns, now_ns, 0
        self._prediction.take(pose, stamp_ns)
        return True

    def _leave_out(self, why: str) -> bool:
        self.refuse(why)
        return False

    # -- as a hand -----------------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """Forget jumps from before an engagement: a person has seen them."""
        self._jump = ""

    def problem(self, now_ns: int) -> str:
        """Silence, or a jump since this engagement began."""
        if self._pose is None:
            more = f" ({self.last_refusal})" if self.last_refusal else "; is the leader's driver running?"
            return f"no pose of a leader came on {self._topic}{more}"
        silent_s = (now_ns - self._arrived_ns) / NS
        if silent_s > self._silent_s:
            return f"{self._topic} is silent for {silent_s:.1f} s; look at the leader's cable and driver"
        return self._jump

    def target(self) -> Array | None:
        """The newest pose [J]."""
        return self._pose

    def begin(self, pose: Array, _now_ns: int) -> None:
        """Lead from now on; of whole turns those that are nearest to the arm's ``pose``."""
        self._drawn_ns = 0
        if self._pose is not None and self._continuous.any():
            self._pose = nearest(self._pose, pose, self._continuous)
            self._prediction.forget()
            self._prediction.take(self._pose, self._stamp_ns)

    def rows(self, now_ns: int) -> OperatorRows | None:
        """Where the leader was and will be; None where it said nothing new."""
        if self._pose is None or self._drawn_ns == self._stamp_ns:
            return None
        self._drawn_ns = self._stamp_ns
        stamp_ns, rows = self._prediction.rows(now_ns)
        return OperatorRows(stamp_ns, round(self._prediction.settings.step_s * NS), rows)
