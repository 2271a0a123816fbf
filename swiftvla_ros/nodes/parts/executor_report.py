# SPDX-License-Identifier: Apache-2.0
"""What the executor node says of its core: ``executor_state``, the log, and the diagnostics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from swiftvla_ros.motion import ChunkExecutor, Command, Mode, Reason
from swiftvla_ros.motion.speed_limits import SourceLimit
from swiftvla_ros.msg import ExecutorState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.diagnostics import Health, Level
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.messages import counts, doubles, set_time

# At rest, executor_state comes this often.
_STATE_PERIOD_NS = 50_000_000
# In motion, planned_rows come this often, and at once after a chunk was taken over.
_PLAN_PERIOD_NS = 100_000_000
_UNWELL = {
    **dict.fromkeys((Mode.TAIL, Mode.DECELERATING, Mode.HOLD, Mode.RELEASED), Level.WARN),
    Mode.STOPPED: Level.ERROR,
}
_FAULTS = (Reason.STATE_STALE, Reason.STATE_INVALID, Reason.TRACKING_ERROR, Reason.JOINT_FROZEN)

_NO_STATE = (Reason.NO_MEASURED_STATE, Reason.NOT_ARMED, Reason.STATE_STALE)


class ExecutorReport:
    """Publishes what changed at once, and in motion every so manieth tick: ``rate_hz`` a second at most; 0: each.

    Whoever calls it holds the core's lock.

    Attributes
    ----------
    state_problem
        Why no joint states come, where somebody knows; told with their absence.
    """

    def __init__(self, node: ManagedNode[Any], core: ChunkExecutor, rate_hz: float, *, shadow: bool) -> None:
        self._node, self._core = node, core
        control_hz = node.contract.control.rate_hz
        # Half a tick less, so that a tick that came a little early is not left out.
        ticks = math.ceil(control_hz / rate_hz) if rate_hz else 1
        self._gap_ns = round((ticks - 0.5) * 1e9 / control_hz) if ticks > 1 else 0
        self.state_problem = ""
        self._command: Command | None = None
        self._resting = True
        self._told: tuple[Mode, Reason, int, int, int, bool] | None = None
        self._told_ns = self._plan_told_ns = self._plan_told_of = 0
        self._expired: SourceLimit | None = None
        # One message for all ticks: making one anew costs more than filling it in.
        self._message = ExecutorState(joint_names=list(node.contract.joint_names), shadow=shadow)
        self._message.header.frame_id = node.contract.base_frame
        self._states = node.publisher(ExecutorState, "executor_state", qos.EXECUTOR_STATE)

    def tick(self, command: Command | None, now_ns: int, *, resting: bool) -> None:
        """Tell of a tick, where that is due; ``resting``: whether its command, if any, is to stand still."""
        core, still, self._command, self._resting = self._core, self._resting and resting, command, resting
        told = (core.mode, core.reason, core.accepted, core.refused, core.speed_limits.taken, core.operator_holds)
        gap_ns = _STATE_PERIOD_NS if still else self._gap_ns
        if told != self._told or not 0 <= now_ns - self._told_ns < gap_ns:
            if self._told is None or told[:2] != self._told[:2]:
                self._node.get_logger().info(f"{core.mode.name}: {self._reason_text()}")
            self._told = told
            self._publish(now_ns)
        if core.speed_limits.expired is not self._expired and (expired := core.speed_limits.expired) is not None:
            self._expired = expired
            self._node.get_logger().info(
                f"the speed limit of '{expired.source}' was not renewed in time; speed scale: {core.speed_limits.text}"
            )

    def catch_up(self, ticked_ns: int) -> None:
        """Tell of the last tick, if that was left out."""
        if self._told_ns != ticked_ns:
            self._publish(ticked_ns)

    def health(self, longest_ns: int) -> Health:
        """How well it goes; ``longest_ns`` is the longest time between two ticks since the last call."""
        core, limit = self._core, self._core.speed_limits.binding
        level = Level.ERROR if core.reason in _FAULTS else _UNWELL.get(core.mode, Level.OK)
        values = {
            "mode": core.mode.name,
            "reason": core.reason.name,
            "operator holds the arm": core.operator_holds,
            "chunks accepted": core.accepted,
            "chunks refused": core.refused,
            "last refusal": core.last_refusal.text,
            "speed limit": f"{limit.source}: {limit.reason}" if limit else "",
            "speed scale, %": f"{100 * core.speed_scale:.0f}",
            "longest time between ticks, ms": f"{longest_ns / 1e6:.2f}",
            "shadow": self._message.shadow,
        }
        return Health(level, f"{core.mode.name}: {self._reason_text()}", values)

    def _reason_text(self) -> str:
        why = self.state_problem if self._core.reason in _NO_STATE else ""
        return f"{self._core.reason_text}: {why}" if why else self._core.reason_text

    def _publish(self, now_ns: int) -> None:
        core, command, message = self._core, self._command, self._message
        self._told_ns = now_ns
        set_time(message.header.stamp, now_ns)
        # Deactivated and at rest, the core still holds, but nothing is sent any more.
        let_go = not self._node.active and self._resting and core.mode is not Mode.STOPPED
        message.mode = Mode.RELEASED if let_go else core.mode
        message.reason, message.reason_text = core.reason, self._reason_text()
        message.chunk_id, message.row, message.chunk_source = core.chunk_id, core.row, core.chunk_source
        message.operator_holds = core.operator_holds
        set_time(message.operator_gave_back, core.operator_gave_back_ns)
        due = core.accepted != self._plan_told_of or not 0 <= now_ns - self._plan_told_ns < _PLAN_PERIOD_NS
        if due:
            self._plan_told_of, self._plan_told_ns = core.accepted, now_ns
        message.planned_rows = doubles(core.planned_rows() if due else np.zeros(0))
        message.chunk_age_s = core.age_s(now_ns)
        set_time(message.chunk_stamp, core.chunk.stamp_ns if core.chunk is not None else 0)
        set_time(message.chunk_first_command, core.first_command_ns or 0)
        set_time(message.chunk_taken, core.taken_ns)
        set_time(message.measured_stamp, core.measured_ns)
        message.chunks_accepted, message.chunks_refused = core.accepted, core.refused
        message.last_refusal, message.last_refusal_text = core.last_refusal.code, core.last_refusal.text
        message.position_clamps = counts(core.position_clamps)
        message.velocity_clamps = counts(core.velocity_clamps)
        message.acceleration_clamps = counts(core.acceleration_clamps)
        message.limit_excess = doubles(core.limit_excess)
        message.speed_scale = float(core.speed_scale)
        limit = core.speed_limits.binding
        message.speed_limit_source, message.speed_limit_reason = (limit.source, limit.reason) if limit else ("", "")
        message.speed_limits_taken = core.speed_limits.taken
        message.commanded_position = doubles(command.position if command is not None else np.zeros(0))
        message.tracking_error = doubles(core.tracking_error)
        self._states.publish(message)
