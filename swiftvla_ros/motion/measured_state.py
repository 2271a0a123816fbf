# SPDX-License-Identifier: Apache-2.0
"""Where the arm was measured to be, and whether that still says something."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.clock_offset import FUTURE_TOLERANCE_S, off_clock_text
from swiftvla_ros.contract.executor_codes import Reason
from swiftvla_ros.motion.chunk import NS

Array = NDArray[np.float64]


class MeasuredState:
    """The newest good joint state: ``position`` [J], None before there was one, and its stamp, 0 before."""

    def __init__(self, joints: int, timeout_s: float | None) -> None:
        self._joints, self._timeout_s = joints, timeout_s
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.position: Array | None = None
        self.stamp_ns = 0
        self._invalid = False
        self._offset_s = 0.0  # of the last stamp to the time of receipt

    def forget(self) -> None:
        """The clock jumped: what was measured belongs to another time."""
        self.position, self._offset_s = None, 0.0

    def take(self, position: Array, stamp_ns: int, now_ns: int | None) -> bool:
        """Take note of a state; False, and the last good one stays, where it is none, or of another time."""
        q = np.asarray(position, dtype=np.float64)
        self._invalid = q.shape != (self._joints,) or not bool(np.isfinite(q).all())
        if self._invalid:
            return False
        self._offset_s = 0.0 if now_ns is None else (stamp_ns - now_ns) / NS
        overtaken = self.position is not None and stamp_ns < self.stamp_ns
        if overtaken or (now_ns is not None and stamp_ns > now_ns + FUTURE_TOLERANCE_S * NS):
            return False
        self.position, self.stamp_ns = q, stamp_ns
        return True

    def stale(self, now_ns: int) -> bool:
        """Whether it is missing, or too old, where somebody looks."""
        if self._timeout_s is None:
            return False
        return self.position is None or now_ns - self.stamp_ns > self._timeout_s * NS

    @property
    def problem(self) -> tuple[Reason, str]:
        """Why it is not usable, where it is not."""
        if self._invalid:
            return Reason.STATE_INVALID, "the joint state holds a number that is not finite, or not one number a joint"
        code = Reason.NO_MEASURED_STATE if self.position is None else Reason.STATE_STALE
        # What comes, and is of another time, is no silence.
        if problem := off_clock_text(self._offset_s, self._timeout_s):
            return code, f"joint states are {problem}"
        if self.position is None:
            return code, "no joint state was received yet"
        return code, f"no joint state for more than {self._timeout_s:g} s"
