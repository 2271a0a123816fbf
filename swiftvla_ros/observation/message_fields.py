# SPDX-License-Identifier: Apache-2.0
"""The fields of this package's messages as Python's own, the same for one that just arrived and for one of a bag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import latency_stages
from swiftvla_ros.contract.executor_codes import ChunkSource
from swiftvla_ros.observation.joint_state import JointStateError

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
Message = TypeVar("Message")

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
    stamp_ns: Annotated[int, "header.stamp"]
    step_ns: Annotated[int, "step"]
    joint_names: tuple[str, ...]
    positions: Array
    instruction: str
    instruction_id: int
    checkpoint_sha256: str
    noise_seed: int
    image_stamps: dict[str, int]
    state_stamp_ns: Annotated[int, "state_stamp"]
    ready_ns: Annotated[int, "observation_ready"]
    start_ns: Annotated[int, "inference_start"]
    end_ns: Annotated[int, "inference_end"]
    received_ns: int
    frozen_rows: int
    guidance: str
    rows_ahead: Array

    @property
    def times_ns(self) -> NDArray[np.int64]:
        """For when each row is commanded: int64 [H]."""
        return self.stamp_ns + np.arange(len(self.positions), dtype=np.int64) * self.step_ns

    @property
    def inference_s(self) -> float:
        """How long the policy computed it."""
        return (self.end_ns - self.start_ns) / 1e9

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
    rows, joints = int(message.rows), len(message.joint_names)
    positions = np.array(message.positions, np.float64)
    return _read(
        ChunkMessage,
        message,
        positions=positions.reshape(rows, joints) if positions.size == rows * joints else positions,
        image_stamps={n: stamp_ns(s) for n, s in zip(message.camera_names, message.camera_stamps, strict=False)},
        received_ns=received_ns,
        rows_ahead=_rows(message.rows_ahead, joints),
    )


def _rows(flat: Any, joints: int) -> Array:
    """Row-major numbers as rows [n, J]; flat where they are none."""
    rows = np.array(flat, np.float64)
    return rows.reshape(-1, joints) if joints and not rows.size % joints else rows


@dataclass(frozen=True)
class VisionMessage:
    """A ``VisionFeatures``: features [cams, D], empty where the policy can't tell them or they are no rows."""

    chunk_id: int
    stamp_ns: Annotated[int, "header.stamp"]
    checkpoint_sha256: str
    camera_names: tuple[str, ...]
    features: Array


def read_vision_features(message: Any) -> VisionMessage:
    """Read a ``VisionFeatures``."""
    cameras, dim, flat = len(message.camera_names), int(message.dim), np.array(message.features, np.float64)
    whole = cameras > 0 and dim > 0 and flat.size == cameras * dim
    return _read(VisionMessage, message, features=flat.reshape(cameras, dim) if whole else np.zeros((0, 0)))


@dataclass(frozen=True)
class VerdictMessage:
    """A ``MonitorVerdict``; the arrays are [P], as many as ``parts``."""

    stamp_ns: Annotated[int, "header.stamp"]
    monitor: str
    chunk_id: int
    level: int
    percent: float
    text: str
    parts: tuple[str, ...]
    values: Array
    slow_at: Array
    hold_at: Array
    checkpoint_sha256: str


def read_verdict(message: Any) -> VerdictMessage:
    """Read a ``MonitorVerdict``."""
    return _read(VerdictMessage, message)


@dataclass(frozen=True)
class ExecutorTick:
    """One control tick, as ``ExecutorState`` tells it; the arrays are [J], empty where the message has none.

    Times in ns. ``position_clamps``, ``velocity_clamps`` and ``acceleration_clamps`` are int64.
    ``row`` is the place between the chunk's rows; ``planned_rows`` [n, J] is what is commanded at their times, empty in
    most ticks. ``speed_limits_taken`` is None in bags of before the executor told of it; in bags of before there were
    operators' chunks, all are the policy's.
    """

    stamp_ns: Annotated[int, "header.stamp"]
    mode: int
    reason: int
    reason_text: str
    chunk_id: int
    row: float
    planned_rows: Array
    chunk_stamp_ns: Annotated[int, "chunk_stamp"]
    taken_ns: Annotated[int, "chunk_taken"]
    first_command_ns: Annotated[int, "chunk_first_command"]
    measured_ns: Annotated[int, "measured_stamp"]
    accepted: Annotated[int, "chunks_accepted"]
    refused: Annotated[int, "chunks_refused"]
    last_refusal: int
    last_refusal_text: str
    joint_names: tuple[str, ...]
    position_clamps: Counts
    velocity_clamps: Counts
    acceleration_clamps: Counts
    limit_excess: Array
    speed_scale: float
    speed_limits_taken: int | None
    shadow: bool
    commanded: Annotated[Array, "commanded_position"]
    tracking_error: Array
    chunk_source: int
    operator_holds: bool
    gave_back_ns: int

    def commanded_of(self, joint_names: tuple[str, ...]) -> Array | None:
        """What is commanded [J]; None where nothing is, and where it is of other joints or no finite number a joint."""
        whole = self.joint_names == joint_names and self.commanded.shape == (len(joint_names),)
        return self.commanded if whole and np.isfinite(self.commanded).all() else None


def read_executor_state(message: Any) -> ExecutorTick:
    """Read an ``ExecutorState``, whatever its joints."""
    return _read(
        ExecutorTick,
        message,
        planned_rows=_rows(getattr(message, "planned_rows", ()), len(message.joint_names)),  # not in older bags
        speed_limits_taken=getattr(message, "speed_limits_taken", None),
        chunk_source=int(getattr(message, "chunk_source", ChunkSource.POLICY)),
        operator_holds=bool(getattr(message, "operator_holds", False)),
        gave_back_ns=stamp_ns(message.operator_gave_back) if hasattr(message, "operator_gave_back") else 0,
    )


@dataclass(frozen=True)
class PolicyReport:
    """What ``PolicyState`` says of a policy; ``reason`` is empty while it computes chunks.

    ``latency_s`` are the stages of its newest chunk, by name.
    """

    stamp_ns: Annotated[int, "header.stamp"]
    reason: str
    instruction: str
    instruction_id: int
    checkpoint_sha256: str
    runtime: str
    device: str
    precision: str
    threads: int
    guidance: str
    latency_s: dict[str, float]
    chunks: int


def read_policy_state(message: Any) -> PolicyReport:
    """Read a ``PolicyState``."""
    reason = "" if message.ready else str(message.reason)
    return _read(
        PolicyReport,
        message,
        reason=reason,
        runtime=str(getattr(message, "runtime", "torch")),  # older bags say none: there was only one
        latency_s=dict(zip(message.latency_stages, map(float, message.latency_s), strict=False)),
    )


@dataclass(frozen=True)
class SpeedLimitMessage:
    """A ``SpeedLimit``: ``percent`` of the planned speed, for ``valid_for_s`` after ``stamp_ns``; 0: until replaced."""

    source: str
    percent: float
    reason: str
    stamp_ns: Annotated[int, "header.stamp"]
    valid_for_s: Annotated[float, "valid_for"]


def read_speed_limit(message: Any, received_ns: int) -> SpeedLimitMessage:
    """Read a ``SpeedLimit``; one without a stamp is of the time when it was received."""
    return _read(SpeedLimitMessage, message, stamp_ns=stamp_ns(message.header.stamp) or received_ns)


@dataclass(frozen=True)
class TaskVerdictMessage:
    """A ``TaskVerdict``; ``verdict`` is a :class:`~swiftvla_ros.contract.executor_codes.TaskVerdictCode`, or newer."""

    stamp_ns: Annotated[int, "header.stamp"]
    instruction_id: int
    verdict: int
    text: str


def read_task_verdict(message: Any) -> TaskVerdictMessage:
    """Read a ``TaskVerdict``."""
    return _read(TaskVerdictMessage, message)


_READERS: dict[Any, Callable[[Any], Any]] = {
    int: lambda value: stamp_ns(value) if hasattr(value, "sec") else int(value),
    float: float,
    str: str,
    bool: bool,
    tuple[str, ...]: tuple,
    Array: partial(np.array, dtype=np.float64),
    Counts: partial(np.array, dtype=np.int64),
}


@cache
def _fields(kind: Any) -> list[tuple[str, Callable[[Any], Any], Callable[[Any], Any]]]:
    """Name, place in the message and reader of each field; ``Annotated`` where the message calls it otherwise."""
    found: list[tuple[str, Any, Any]] = []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        own, place = get_args(hint) if get_origin(hint) is Annotated else (hint, name)
        if own in _READERS:
            found.append((name, attrgetter(place), _READERS[own]))
    return found


def _read(kind: Callable[..., Message], message: Any, **given: Any) -> Message:
    """Read what is not ``given`` already."""
    return kind(**given, **{name: read(place(message)) for name, place, read in _fields(kind) if name not in given})


def measured_positions(message: Any, joint_names: tuple[str, ...], *, finite: bool = True) -> Array:
    """Return the positions [J] of a ``JointState`` of ``observation/state``, rad or m.

    ``finite`` False lets numbers that are not finite, or too few, through: for whom they are an event, not a mistake.

    Raises
    ------
    JointStateError
        Other joints than the contract's, another order, or positions that are no finite number a joint.
    """
    if tuple(message.name) != joint_names:
        raise JointStateError(f"observation/state: got joints {list(message.name)}, expected {list(joint_names)}")
    positions = np.array(message.position, np.float64)
    if finite and not (positions.shape == (len(joint_names),) and np.isfinite(positions).all()):
        raise JointStateError(f"observation/state: positions {positions.tolist()} are not finite, or too few")
    return positions
