# SPDX-License-Identifier: Apache-2.0
"""Every ``bags/NAME.replay.yaml`` is a test; and runs of the executor, recorded without ROS."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bag_messages import Messages

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.executor_codes import ChunkSource
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.motion import ChunkExecutor, JointChunk, SourceLimit
from swiftvla_ros.replay.pytest_plugin import pytest_collect_file  # noqa: F401

NS = 1_000_000_000
SHA256 = "a" * 64
STEP_NS = 100_000_000
CLAMPS = ("position_clamps", "velocity_clamps", "acceleration_clamps")


class Run:
    """The executor node's work without ROS, recorded as the node reports it; times in ms from 1000 s on."""

    def __init__(self, writer: BagWriter, contract: Contract) -> None:
        self.writer, self.contract = writer, contract
        self.core = ChunkExecutor.from_contract(contract)
        self.messages = Messages(contract)
        self.ns = 1000 * NS
        self.arm = contract.rest.copy()
        self.chunks = self.operated = 0
        self._told: Any = None
        self._told_ns = self._ticked_ns = 0
        self._command: Any = None

    def spin(self, ms: int, before_tick: Callable[[], None] = lambda: None) -> None:
        """Tick every 8 to 13 ms; joint states come every 20 ms, of an arm that lags behind its command."""
        end = self.ns + ms * 1_000_000
        rng = np.random.default_rng(self.ns)
        while self.ns < end:
            if self.ns // 20_000_000 != (self.ns - 10_000_000) // 20_000_000:
                self.measure(self.ns - 3_000_000)
            before_tick()
            self.ns += int(rng.integers(8_000_000, 13_000_000))
            self.tick()

    def measure(self, ns: int) -> None:
        self.core.measured(self.arm, ns, self.ns)
        self.writer.write_message("/observation/state", self.messages.measured(ns, self.arm.copy()), self.ns)

    def tick(self) -> None:
        command = self.core.tick(self.ns)
        if command is not None:
            self.arm = self.arm + 0.3 * (command.position - self.arm)
        core = self.core
        told = (core.mode, core.reason, core.accepted, core.refused, core.speed_limits.taken, core.operator_holds)
        resting = command is None or not (command.velocity.any() or command.acceleration.any())
        self._ticked_ns, self._command = self.ns, command
        # As the node: every tick in motion, and every 50 ms at rest.
        if told != self._told or not resting or self.ns - self._told_ns >= 50_000_000:
            self._told = told
            self.tell()

    def tell(self) -> None:
        """Report the last tick."""
        core, command, self._told_ns = self.core, self._command, self._ticked_ns
        stamp, binding = self.messages.stamp, core.speed_limits.binding
        fields = {
            "mode": int(core.mode), "reason": int(core.reason), "reason_text": core.reason_text,
            "chunk_id": core.chunk_id, "row": core.row, "planned_rows": core.planned_rows().ravel(),
            "chunk_age_s": core.age_s(self._ticked_ns),
            "chunk_stamp": stamp(core.chunk.stamp_ns if core.chunk is not None else 0),
            "chunk_first_command": stamp(core.first_command_ns or 0), "chunk_taken": stamp(core.taken_ns),
            "measured_stamp": stamp(core.measured_ns),
            "chunks_accepted": core.accepted, "chunks_refused": core.refused,
            "last_refusal": int(core.last_refusal.code), "last_refusal_text": core.last_refusal.text,
            "joint_names": list(self.contract.joint_names), "limit_excess": core.limit_excess,
            **{name: getattr(core, name).astype(np.uint64) for name in CLAMPS},
            "speed_scale": core.speed_scale, "speed_limits_taken": core.speed_limits.taken,
            "speed_limit_source": binding.source if binding else "",
            "speed_limit_reason": binding.reason if binding else "",
            "commanded_position": np.zeros(0) if command is None else command.position.copy(),
            "tracking_error": core.tracking_error.copy(),
            "chunk_source": int(core.chunk_source), "operator_holds": core.operator_holds,
            "operator_gave_back": stamp(core.operator_gave_back_ns),
        }  # fmt: skip
        message = self.messages.make("swiftvla_ros/msg/ExecutorState", self._ticked_ns, **fields)
        self.writer.write_message("/executor_state", message, self._ticked_ns)

    def offer(self, target: np.ndarray, age_ms: int = 120) -> bool:
        """Give the executor a chunk from where the arm is to ``target``, and record it."""
        rows = 12
        share = np.linspace(0.0, 1.0, rows)[:, None]
        positions = (1 - share) * self.arm + share * target
        self.chunks += 1
        stamp = self.ns - age_ms * 1_000_000
        names = self.contract.joint_names
        message = self.messages.chunk(
            stamp, stamp, stamp, self.ns - 1_000_000, rows=rows, positions=positions.ravel(), chunk_id=self.chunks,
            instruction="touch the red block", checkpoint_sha256=SHA256, camera_names=[], camera_stamps=[],
        )  # fmt: skip
        self.writer.write_message("/action_chunk", message, self.ns)
        if self._told_ns != self._ticked_ns:
            self.tell()  # a chunk from rest is planned from the last tick
        chunk = JointChunk(stamp, STEP_NS, positions, self.chunks, 1, SHA256, names)
        return self.core.offer(chunk, self.ns + 1_000_000).accepted

    def operate(self, target: np.ndarray) -> bool:
        """Give the executor a person's chunk of 20 ms rows towards ``target``, and record it."""
        rows = 20
        share = np.linspace(0.0, 1.0, rows)[:, None]
        positions = (1 - share) * self.arm + share * target
        self.operated += 1
        step_ns = 20_000_000
        message = self.messages.chunk(
            self.ns, self.ns, self.ns, self.ns, rows=rows, positions=positions.ravel(), chunk_id=self.operated,
            step=self.messages.stamp(step_ns), instruction="", checkpoint_sha256="", camera_names=[], camera_stamps=[],
        )  # fmt: skip
        self.writer.write_message("/operator_chunk", message, self.ns)
        if self._told_ns != self._ticked_ns:
            self.tell()
        names = self.contract.joint_names
        chunk = JointChunk(self.ns, step_ns, positions, self.operated, 1, "", names, ChunkSource.OPERATOR)
        return self.core.offer(chunk, self.ns + 1_000_000).accepted

    def scale(self, percent: float) -> None:
        """Change the speed."""
        self.core.set_speed_scale(percent / 100)
        self.writer.write_message("/speed_scale", self.messages.make("std_msgs/msg/Float64", data=percent), self.ns)

    def limit(self, source: str, percent: float, valid_s: float = 0.0, *, late_ms: int = 0) -> None:
        """Let a monitor limit the speed; the recorder hears of it ``late_ms`` after the executor."""
        self.core.speed_limits.set(SourceLimit(source, percent / 100, "a hand is near", self.ns, valid_s))
        fields = {"source": source, "percent": percent, "reason": "a hand is near", "valid_for": valid_s}
        message = self.messages.make("swiftvla_ros/msg/SpeedLimit", self.ns, **fields)
        self.writer.write_message("/speed_limit", message, self.ns + late_ms * 1_000_000)


@pytest.fixture(scope="session")
def run_class() -> type[Run]:
    """Give the class: a test may record several runs."""
    return Run
