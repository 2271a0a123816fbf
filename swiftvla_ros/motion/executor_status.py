# SPDX-License-Identifier: Apache-2.0
"""What an executor says of itself."""

from __future__ import annotations

from swiftvla_ros.contract.executor_codes import ChunkSource, Mode, Reason
from swiftvla_ros.motion.chunk import NS, JointChunk
from swiftvla_ros.motion.following.follower import PathFollower
from swiftvla_ros.motion.measured_state import MeasuredState
from swiftvla_ros.motion.operator_grip import OperatorGrip
from swiftvla_ros.motion.planning.rows import PlannedRows
from swiftvla_ros.motion.speed_limits import SpeedLimits
from swiftvla_ros.motion.state_machine import StateMachine


class ExecutorStatus:
    """What :class:`~swiftvla_ros.motion.executor.ChunkExecutor` tells without changing anything."""

    speed_limits: SpeedLimits
    _machine: StateMachine
    _follower: PathFollower
    _measured: MeasuredState
    _grip: OperatorGrip
    _rows: PlannedRows | None
    _ticked_ns: int

    @property
    def mode(self) -> Mode:
        """What it does."""
        return self._machine.mode

    @property
    def reason(self) -> Reason:
        """Why it is there."""
        return self._machine.reason

    @property
    def reason_text(self) -> str:
        """The same for people, with names and numbers."""
        return self._machine.text

    @property
    def speed_scale(self) -> float:
        """Rate of path time at the last tick, 0 … 1: on its way to what ``speed_limits`` allow."""
        return self.speed_scale_at(self._ticked_ns)

    def speed_scale_at(self, now_ns: int) -> float:
        """The same for another time, as things stand."""
        follower = self._follower
        return self.speed_limits.scale if follower.reference is None else follower.clock.at(now_ns).rate

    @property
    def measured_ns(self) -> int:
        """Stamp of the newest joint state taken in; 0 before there was one."""
        return self._measured.stamp_ns

    @property
    def chunk(self) -> JointChunk | None:
        """The chunk being followed, or the last one that was."""
        return self._rows.chunk if self._rows is not None else None

    @property
    def chunk_source(self) -> ChunkSource:
        """Whose chunk that is."""
        return self._rows.chunk.source if self._rows is not None else ChunkSource.NONE

    @property
    def operator_holds(self) -> bool:
        """Whether an operator holds the arm, and the policy's chunks are refused."""
        return self._grip.held

    @property
    def operator_gave_back_ns(self) -> int:
        """When the operator gave it back last; 0: never."""
        return self._grip.gave_back_ns

    @property
    def chunk_id(self) -> int:
        """Its id; 0 when there was none."""
        return self._rows.chunk.chunk_id if self._rows is not None else 0

    @property
    def row(self) -> float:
        """Place between its rows at the last tick; -1 when there is none."""
        reference = self._follower.reference
        if reference is None or self._rows is None:
            return -1.0
        plan, path_ns = reference.plan, self._follower.clock.at(self._ticked_ns).ns
        along_ns = plan.path.origin_ns + plan.path_time_s(path_ns) * NS
        return (along_ns - self._rows.first_ns) / self._rows.chunk.step_ns

    def age_s(self, now_ns: int) -> float:
        """Age of its observation; -1 when there is none."""
        return (now_ns - self._rows.chunk.stamp_ns) / NS if self._rows is not None else -1.0
