# SPDX-License-Identifier: Apache-2.0
"""Shadow mode: what would be commanded, beside what the arm does under somebody else's hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from swiftvla_ros.contract.turns import nearest
from swiftvla_ros.motion import Command
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.messages import doubles, header, to_duration

Array = NDArray[np.float64]

PREDICTED_PERIOD_S = 0.1
"""shadow/predicted comes this often."""

AHEAD_S = 1.0
"""So far ahead it looks."""

# The newest measured state is at most so much older than the newest command.
_REMEMBERED_S = 1.0
# Measured states that came after the newest command: the next one tells what to compare them with.
_MOST_WAITING = 20
# Commands further apart are not of one motion.
_GAP_NS = 100_000_000


class ShadowOutput:
    """Takes the commands' place: publishes the plan, and how far the measured motion is from it. Sends no command.

    * ``shadow/predicted``: the position that would be commanded now, and those of the plan ahead of it.
    * ``shadow/error``: predicted minus measured position, both at the measured state's stamp.

    Both in contract order, rad or m. ``plan(stamp_ns, step_ns, rows)`` gives the planned positions [rows, J] at
    ``stamp_ns + i · step_ns``.
    """

    def __init__(self, node: ManagedNode[Any], plan: Callable[[int, int, int], Array]) -> None:
        contract = node.contract
        self._names = list(contract.joint_names)
        self._continuous = contract.limits.continuous
        self._plan = plan
        self._step_ns = round(contract.policy.step_s * 1e9)
        self._rows = max(1, round(AHEAD_S / contract.policy.step_s))
        self._predicted = node.publisher(JointTrajectory, "shadow/predicted", qos.STATE)
        self._error = node.publisher(JointState, "shadow/error", qos.STATE)
        self._told_ns = 0
        self._waiting: deque[tuple[int, Array]] = deque(maxlen=_MOST_WAITING)
        self._past: deque[tuple[int, Array]] = deque(maxlen=round(_REMEMBERED_S * contract.control.rate_hz))

    def send(self, command: Command, now_ns: int) -> None:
        """Remember what would be commanded, and publish the plan when that is due."""
        if self._past and not 0 < command.stamp_ns - self._past[-1][0] < _GAP_NS:
            self._past.clear()
        self._past.append((command.stamp_ns, command.position))
        while self._waiting and self._waiting[0][0] <= command.stamp_ns:
            self._compare(*self._waiting.popleft())
        if 0 <= now_ns - self._told_ns < round(PREDICTED_PERIOD_S * 1e9):
            return
        self._told_ns = now_ns
        points = [JointTrajectoryPoint(positions=doubles(command.position), velocities=doubles(command.velocity))]
        ahead = self._plan(now_ns + self._step_ns, self._step_ns, self._rows)
        for i, row in enumerate(ahead, start=1):
            after = to_duration(i * self._step_ns)
            points.append(JointTrajectoryPoint(positions=doubles(row), time_from_start=after))
        self._predicted.publish(JointTrajectory(header=header(now_ns), joint_names=self._names, points=points))

    def rivals(self) -> list[str]:
        """Nobody: whoever commands the arm is meant to."""
        return []

    def measured(self, position: Array, stamp_ns: int) -> None:
        """Compare a measured position [J] with what would be commanded at its time, once that is known."""
        self._waiting.append((stamp_ns, position))

    def _compare(self, stamp_ns: int, position: Array) -> None:
        predicted = self._at(stamp_ns)
        if predicted is not None:
            error = doubles(predicted - nearest(position, predicted, self._continuous))
            self._error.publish(JointState(header=header(stamp_ns), name=self._names, position=error))

    def _at(self, ns: int) -> Array | None:
        """What would have been commanded at a time, between ticks too; None where nothing was."""
        if not self._past or not self._past[0][0] <= ns <= self._past[-1][0]:
            return None
        after = next(k for k in range(len(self._past)) if self._past[k][0] >= ns)
        end_ns, end = self._past[after]
        if end_ns == ns:
            return end
        begin_ns, begin = self._past[after - 1]
        return begin + (end - begin) * ((ns - begin_ns) / (end_ns - begin_ns))
