# SPDX-License-Identifier: Apache-2.0
"""Whether the arm does what it is told: a joint that falls behind its command, a measurement that never changes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.executor_codes import Reason
from swiftvla_ros.motion.chunk import NS
from swiftvla_ros.motion.config import ExecutorConfig

Array = NDArray[np.float64]


class TrackingWatch:
    """Compares measured positions with the commands of the same time, joint by joint.

    Both watches need time, so that neither a single bad state nor the lag of a driver sets them off. A joint that is
    meant to be held up by what it touches (the gripper) is left out.
    """

    def __init__(self, joint_names: tuple[str, ...], config: ExecutorConfig) -> None:
        self._names = joint_names
        self._watched = ~np.isin(joint_names, [gripper.joint for gripper in config.grippers])
        self._config = config
        self.forget()

    def forget(self) -> None:
        """Begin anew: nothing is commanded, or time jumped."""
        self._last_ns = 0
        self._seen: Array | None = None

    def look(
        self, measured: Array, commanded: Array, now_ns: int, *, paused: bool = False
    ) -> tuple[Reason, str] | None:
        """What is wrong, with the joint and both numbers, from positions [J] at ``now_ns``; None while nothing is.

        ``paused``: somebody lets the arm come to a standstill, which may be its driver, who holds it at once; it stands
        then while its command still slows down, and is not frozen.
        """
        if self._seen is None or now_ns < self._last_ns:
            self._seen = measured.copy()
            self._off_ns, self._same_ns = np.full(len(measured), now_ns), np.full(len(measured), now_ns)
            self._low, self._high = commanded.copy(), commanded.copy()
        self._last_ns = now_ns
        return self._tracking(measured, commanded, now_ns) or self._frozen(measured, commanded, now_ns, paused=paused)

    def _tracking(self, measured: Array, commanded: Array, now_ns: int) -> tuple[Reason, str] | None:
        watch = self._config.tracking
        if watch is None:
            return None
        error = np.abs(commanded - measured)
        self._off_ns[error <= watch.tolerance_rad] = now_ns
        off_ns = np.where(self._watched, now_ns - self._off_ns, -1)
        j = int(off_ns.argmax())
        if off_ns[j] < round(watch.for_s * NS) or error[j] <= watch.tolerance_rad:
            return None
        return Reason.TRACKING_ERROR, (
            f"joint '{self._names[j]}' does not follow: commanded {commanded[j]:.3f}, measured {measured[j]:.3f}, more "
            f"than {watch.tolerance_rad:g} apart for {off_ns[j] / NS:.2f} s; call ~/reset once the arm is free"
        )

    def _frozen(self, measured: Array, commanded: Array, now_ns: int, *, paused: bool) -> tuple[Reason, str] | None:
        watch = self._config.frozen_joint
        if watch is None:
            return None
        changed = (measured != self._seen) | paused
        self._seen = measured.copy()
        self._same_ns[changed] = now_ns
        self._low = np.where(changed, commanded, np.minimum(self._low, commanded))
        self._high = np.where(changed, commanded, np.maximum(self._high, commanded))
        moved = np.where(
            self._watched & (now_ns - self._same_ns >= round(watch.for_s * NS)), self._high - self._low, -1.0
        )
        j = int(moved.argmax())
        if moved[j] < watch.moved_rad:
            return None
        same_s = (now_ns - self._same_ns[j]) / NS
        return Reason.JOINT_FROZEN, (
            f"joint '{self._names[j]}' is frozen: measured {measured[j]:.3f} for {same_s:.2f} s while its command "
            f"moved by {moved[j]:.3f}; call ~/reset once its joint states are back"
        )
