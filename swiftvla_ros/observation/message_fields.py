# SPDX-License-Identifier: Apache-2.0
"""The fields of this package's messages as Python's own, the same for one that just arrived and for one of a bag."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import latency_stages
from swiftvla_ros.observation.joint_state import JointStateError

Array = NDArray[np.float64]

_NS = 1_000_000_000


def stamp_ns(stamp: Any) -> int:
    """Return a message's ``Time`` or ``Duration`` as integer ns."""
    return int(stamp.sec) * _NS + int(stamp.nanosec)


def header_stamp_ns(data: bytes) -> int:
    """Return the stamp of a serialized message that begins with a header, without decoding the rest; 0 if too short."""
    if len(data) < 12:
        return 0
    order: Literal["little", "big"] = "little" if data[1] & 1 else "big"
    return int.from_bytes(data[4:8], order, signed=True) * _NS + int.from_bytes(data[8:12], order)


@dataclass(frozen=True)
class ChunkMessage:
    """An ``ActionChunk``; its times in ns.

    Attributes
    ----------
    positions
        Rows [H, J], rad or m, in the order of ``joint_names``; flat where the message has another number of them.
    image_stamps
        Camera → stamp of the image that was read.
    received_ns
        When it was received; 0 where nobody asks.
    rows_ahead
        What guidance was given to continue [n, J], the first ``frozen_rows`` as executed; empty without guidance.
    """

    chunk_id: int
    stamp_ns: int
    step_ns: int
    joint_names: tuple[str, ...]
    positions: Array
    instruction: str
    instruction_id: int
    checkpoint_sha256: str
    noise_seed: int
    image_stamps: dict[str, int]
    state_stamp_ns: int
    ready_ns: int
    start_ns: int
    end_ns: int
    received_ns: int
    frozen_rows: int
    guidance: str
    rows_ahead: Array

    @property
    def times_ns(self) -> NDArray[np.int64]:
        """For when each row is commanded: int64 [H]."""
        return self.stamp_ns + np.arange(len(self.positions), dtype=np.int64) * self.step_ns

    def stamps_ns(self, first_command_ns: int = 0) -> dict[str, int]:
        """Its stamps, by the names of the latency stages; ``first_command_ns``: where the arm followed it."""
        return {
            latency_stages.CAMERA: max(self.image_stamps.values(), default=self.stamp_ns),
            latency_stages.OBSERVATION: self.stamp_ns,
            latency_stages.COMPLETE: self.ready_ns,
            latency_stages.STARTS: self.start_ns,
            latency_stages.ENDS: self.end_ns,
            latency_stages.RECEIVED: self.received_ns,
            latency_stages.COMMAND: first_command_ns,
        }


def read_chunk(message: Any, received_ns: int = 0) -> ChunkMessage:
    """Read an ``ActionChunk``, whatever its joints."""
    names = tuple(message.joint_names)
    positions, ahead = np.array(message.positions, np.float64), np.array(message.rows_ahead, np.float64)
    if positions.size == message.rows * len(names):
        positions = positions.reshape(message.rows, len(names))
    return ChunkMessage(
        chunk_id=int(message.chunk_id),
        stamp_ns=stamp_ns(message.header.stamp),
        step_ns=stamp_ns(message.step),
        joint_names=names,
        positions=positions,
        instruction=str(message.instruction),
        instruction_id=int(message.instruction_id),
        checkpoint_sha256=str(message.checkpoint_sha256),
        noise_seed=int(message.noise_seed),
        image_stamps={n: stamp_ns(s) for n, s in zip(message.camera_names, message.camera_stamps, strict=False)},
        state_stamp_ns=stamp_ns(message.state_stamp),
        ready_ns=stamp_ns(message.observation_ready),
        start_ns=stamp_ns(message.inference_start),
        end_ns=stamp_ns(message.inference_end),
        received_ns=received_ns,
        frozen_rows=int(message.frozen_rows),
        guidance=str(message.guidance),
        rows_ahead=ahead.reshape(-1, len(names)) if names and not ahead.size % len(names) else ahead,
    )


@dataclass(frozen=True)
class ExecutorTick:
    """One control tick, as ``ExecutorState`` tells it; the arrays are [J], empty where the message has none.

    Times in ns. ``position_clamps``, ``velocity_clamps`` and ``acceleration_clamps`` are int64.
    ``speed_limits_taken`` is None in bags of before the executor told of it.
    """

    stamp_ns: int
    mode: int
    reason: int
    reason_text: str
    chunk_id: int
    chunk_stamp_ns: int
    taken_ns: int
    first_command_ns: int
    measured_ns: int
    accepted: int
    refused: int
    last_refusal: int
    last_refusal_text: str
    joint_names: tuple[str, ...]
    position_clamps: NDArray[np.int64]
    velocity_clamps: NDArray[np.int64]
    acceleration_clamps: NDArray[np.int64]
    limit_excess: Array
    speed_scale: float
    speed_limits_taken: int | None
    shadow: bool
    commanded: Array
    tracking_error: Array


def read_executor_state(message: Any) -> ExecutorTick:
    """Read an ``ExecutorState``, whatever its joints."""
    return ExecutorTick(
        stamp_ns=stamp_ns(message.header.stamp),
        mode=int(message.mode),
        reason=int(message.reason),
        reason_text=str(message.reason_text),
        chunk_id=int(message.chunk_id),
        chunk_stamp_ns=stamp_ns(message.chunk_stamp),
        taken_ns=stamp_ns(message.chunk_taken),
        first_command_ns=stamp_ns(message.chunk_first_command),
        measured_ns=stamp_ns(message.measured_stamp),
        accepted=int(message.chunks_accepted),
        refused=int(message.chunks_refused),
        last_refusal=int(message.last_refusal),
        last_refusal_text=str(message.last_refusal_text),
        joint_names=tuple(message.joint_names),
        position_clamps=np.array(message.position_clamps, np.int64),
        velocity_clamps=np.array(message.velocity_clamps, np.int64),
        acceleration_clamps=np.array(message.acceleration_clamps, np.int64),
        limit_excess=np.array(message.limit_excess, np.float64),
        speed_scale=float(message.speed_scale),
        speed_limits_taken=getattr(message, "speed_limits_taken", None),
        shadow=bool(message.shadow),
        commanded=np.array(message.commanded_position, np.float64),
        tracking_error=np.array(message.tracking_error, np.float64),
    )


@dataclass(frozen=True)
class PolicyReport:
    """What ``PolicyState`` says of a policy; ``reason`` is empty while it computes chunks."""

    stamp_ns: int
    reason: str
    instruction: str
    instruction_id: int
    checkpoint_sha256: str
    device: str
    precision: str
    threads: int
    guidance: str
    chunks: int


def read_policy_state(message: Any) -> PolicyReport:
    """Read a ``PolicyState``."""
    return PolicyReport(
        stamp_ns=stamp_ns(message.header.stamp),
        reason="" if message.ready else str(message.reason),
        instruction=str(message.instruction),
        instruction_id=int(message.instruction_id),
        checkpoint_sha256=str(message.checkpoint_sha256),
        device=str(message.device),
        precision=str(message.precision),
        threads=int(message.threads),
        guidance=str(message.guidance),
        chunks=int(message.chunks),
    )


def measured_positions(message: Any, joint_names: tuple[str, ...], *, finite: bool = True) -> Array:
    """Return the positions [J] of a message of ``observation/state``, rad or m.

    Parameters
    ----------
    message
        A ``sensor_msgs/JointState``.
    joint_names
        The contract's: the message names the same in the same order.
    finite
        False lets numbers that are not finite, or too few, through: for whom they are an event, not a mistake.

    Raises
    ------
    JointStateError
        Other joints, or positions that are no finite number a joint.
    """
    if tuple(message.name) != joint_names:
        raise JointStateError(f"observation/state: got joints {list(message.name)}, expected {list(joint_names)}")
    positions = np.array(message.position, np.float64)
    if finite and not (positions.shape == (len(joint_names),) and np.isfinite(positions).all()):
        raise JointStateError(f"observation/state: positions {positions.tolist()} are not finite, or too few")
    return positions
