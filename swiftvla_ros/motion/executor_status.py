# SPDX-License-Identifier: Apache-2.0
"""What an executor says of itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.executor_codes import ChunkSource, Mode, Reason
from swiftvla_ros.motion.chunk import NS, Command, JointChunk
from swiftvla_ros.motion.following.follower import PathFollower
from swiftvla_ros.motion.measured_state import MeasuredState
from swiftvla_ros.motion.operator_grip import OperatorGrip
from swiftvla_ros.motion.planning.chunk_planner import PlannedChunk
from swiftvla_ros.motion.planning.command_history import CommandHistory
from swiftvla_ros.motion.speed_limits import SpeedLimits
from swiftvla_ros.motion.state_machine import StateMachine

Array = NDArray[np.float64]


class ExecutorStatus:
    """What :class:`~swiftvla_ros.motion.executor.ChunkExecutor` tells without changing anything."""

    speed_limits: SpeedLimits
    _machine: StateMachine
    _follower: PathFollower
    _measured: MeasuredState
    _grip: OperatorGrip
    _planned: PlannedChunk | None
    _history: CommandHistory
    _command: Command | None
    _ticked_ns: int
    joint_names: tuple[str, ...]

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
        return self._planned.chunk if self._planned is not None else None

    @property
    def chunk_source(self) -> ChunkSource:
        """Whose chunk that is."""
        return self._planned.chunk.source if self._planned is not None else ChunkSource.NONE

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
        return self._planned.chunk.chunk_id if self._planned is not None else 0

    @property
    def row(self) -> float:
        """Place between its rows at the last tick; -1 when there is none."""
        reference = self._follower.reference
        if reference is None or self._planned is None:
            return -1.0
        plan, path_ns = reference.plan, self._follower.clock.at(self._ticked_ns).ns
        along_ns = plan.path.origin_ns + plan.path_time_s(path_ns) * NS
        return (along_ns - self._planned.rows.first_ns) / self._planned.chunk.step_ns

    def age_s(self, now_ns: int) -> float:
        """Age of its observation; -1 when there is none."""
        return (now_ns - self._planned.chunk.stamp_ns) / NS if self._planned is not None else -1.0

    def plan_rows(self, stamp_ns: int, step_ns: int, rows: int) -> Array:
        """Positions [rows, J] that are commanded at ``stamp_ns + i * step_ns`` as things stand, without newer chunks.

        What is past was commanded; what lies ahead is the motion that is followed, with steps of path time: where a
        chunk of that stamp has its rows. An arm that follows nothing stays where it is.

        Raises
        ------
        ValueError
            Nothing was commanded and no joint state received: there is nothing to tell.
        """
        clock = self._follower.clock
        if self._command is None or not clock.running:
            if self._measured.position is None:
                raise ValueError("plan_rows: no command was given and no joint state received yet")
            return np.tile(self._follower.limiter.at_rest_at(self._measured.position)[0], (rows, 1))
        return self._commanded_at(clock.at(stamp_ns).ns + step_ns * np.arange(rows, dtype=np.int64), self._command)

    def planned_rows(self) -> Array:
        """What is, or was, commanded at the times of the followed chunk's rows [n, J], up to the slow-down to rest."""
        planned, reference, command = self._planned, self._follower.reference, self._command
        if planned is None or reference is None or command is None:
            return np.zeros((0, len(self.joint_names)))
        rows = planned.rows
        times = rows.first_ns + rows.chunk.step_ns * np.arange(len(rows.chunk.positions), dtype=np.int64)
        return self._commanded_at(times[times <= reference.plan.slow_ns], command)

    def _commanded_at(self, path_ns: NDArray[np.int64], command: Command) -> Array:
        return self._follower.ahead(path_ns, self._ticked_ns, self._history.at(path_ns, command.position))
