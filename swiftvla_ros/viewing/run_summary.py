# SPDX-License-Identifier: Apache-2.0
"""A run as numbers over time: what plots, the viewer and films show of a bag or of the running system.

Messages go in one by one, in the order of their reception and from wherever they come; arrays and events come out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.executor_codes import Mode, Reason, Refusal
from swiftvla_ros.episodes.bags.bag import Bag, BagError, stamp_ns

Array = NDArray[np.float64]
Times = NDArray[np.int64]

RUN_TOPICS = ("executor_state", "action_chunk", "observation/state", "policy_state", "task_verdict")
"""The topics that a run is made of, without their namespace."""

LATENCY_STAGES = ("camera to observation", "waiting", "inference", "to the receiver", "to the first command")
"""What lies between a camera's stamp and the arm, in the order of time."""

VERDICTS = ("PENDING", "DONE", "WRONG_OBJECT", "FAILED")
# Modes in which nothing is commanded.
_NOT_COMMANDING = (Mode.IDLE, Mode.RELEASED)


@dataclass(frozen=True)
class Ticks:
    """What the executor reported: one row for each of N control ticks, J joints in the contract's order.

    Attributes
    ----------
    t_ns
        int64 [N], times of the ticks.
    commanded
        [N, J], rad or m; NaN where nothing was commanded.
    tracking_error
        [N, J], commanded minus measured, rad or m; NaN where unknown.
    speed_scale
        [N], 1 as planned.
    position_clamps, velocity_clamps, acceleration_clamps
        [N, J], counts since the executor was activated.
    limit_excess
        [N, J], how far limits bent the path at most until then, rad or m.
    refused
        [N], chunks refused since activation.
    """

    t_ns: Times
    commanded: Array
    tracking_error: Array
    speed_scale: Array
    position_clamps: Array
    velocity_clamps: Array
    acceleration_clamps: Array
    limit_excess: Array
    refused: Array


@dataclass(frozen=True)
class Measured:
    """Measured joints: ``t_ns`` int64 [N] (the driver's stamps), ``position`` [N, J], rad or m."""

    t_ns: Times
    position: Array


@dataclass(frozen=True)
class ChunkRows:
    """One chunk: its rows [H, J] (rad or m) for the times ``t_ns`` [H], and the times of its way in ns.

    ``camera_ns`` are the stamps of the images that it was computed from, by camera; ``stamp_ns`` the observation's.
    """

    chunk_id: int
    instruction: str
    instruction_id: int
    checkpoint_sha256: str
    t_ns: Times
    rows: Array
    stamp_ns: int
    camera_ns: dict[str, int]
    state_ns: int
    ready_ns: int
    start_ns: int
    end_ns: int
    received_ns: int
    frozen_rows: int

    def latency_s(self, first_command_ns: int | None) -> dict[str, float]:
        """Duration of each of :data:`LATENCY_STAGES`, s; the last only for a chunk that the arm followed."""
        at = [max(self.camera_ns.values(), default=self.stamp_ns), self.ready_ns, self.start_ns, self.end_ns]
        at.append(self.received_ns)
        stages = {name: (b - a) * 1e-9 for name, a, b in zip(LATENCY_STAGES, at[:-1], at[1:], strict=False)}
        if first_command_ns is not None:
            stages[LATENCY_STAGES[-1]] = (first_command_ns - self.received_ns) * 1e-9
        return stages


@dataclass(frozen=True)
class Seam:
    """The first command that followed another chunk than before."""

    t_ns: int
    chunk_id: int
    stamp_ns: int


@dataclass(frozen=True)
class ModeChange:
    """The executor's mode or its reason became another one at a tick; names as in ExecutorState.msg."""

    t_ns: int
    mode: str
    reason: str
    text: str


@dataclass(frozen=True)
class Event:
    """Something that happened.

    ``kind`` is "instruction" (``text`` is empty when it ended), "verdict", "refusal" or "policy"; ``name`` a code such
    as FAR_FROM_MEASURED or DONE.
    """

    t_ns: int
    kind: str
    name: str
    text: str


@dataclass(frozen=True)
class Run:
    """A run, or a piece of one."""

    contract: Contract
    ticks: Ticks
    measured: Measured
    chunks: list[ChunkRows] = field(default_factory=list)
    seams: list[Seam] = field(default_factory=list)
    modes: list[ModeChange] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def zero_ns(self) -> int:
        """Where plots have their zero: the first chunk's arrival, else the first thing that is known."""
        if self.chunks:
            return self.chunks[0].received_ns
        return self.span_ns[0]

    @property
    def span_ns(self) -> tuple[int, int]:
        """First and last time of anything in it; zeros for an empty run."""
        ends = [int(t) for times in (self.ticks.t_ns, self.measured.t_ns) if len(times) for t in (times[0], times[-1])]
        ends += [e.t_ns for e in self.events] + [c.received_ns for c in self.chunks]
        return (min(ends), max(ends)) if ends else (0, 0)

    def of(self, kind: str) -> list[Event]:
        """Events of one kind."""
        return [e for e in self.events if e.kind == kind]

    def seconds(self, t_ns: Times | int) -> Array:
        """Times as s since :attr:`zero_ns`."""
        return np.asarray((np.asarray(t_ns, np.int64) - self.zero_ns) * 1e-9)

    def first_commands(self) -> dict[int, int]:
        """When the first command of each followed chunk was sent, ns, by the stamp of its observation."""
        return {seam.stamp_ns: seam.t_ns for seam in self.seams}


class RunCollector:
    """Turns messages into a :class:`Run`; keeps what it must know to tell a change from a repetition.

    Parameters
    ----------
    contract
        The robot's: its joints are the columns.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._mode: tuple[int, int, str] | None = None
        self._seam_ns = 0
        self._instruction_id = 0
        self._refused: int | None = None
        self._verdict: tuple[int, int] | None = None
        self._policy_reason: str | None = None
        self._begin()

    def _begin(self) -> None:
        self._ticks: list[tuple[Any, ...]] = []
        self._measured: list[tuple[int, Array]] = []
        self._chunks: list[ChunkRows] = []
        self._seams: list[Seam] = []
        self._modes: list[ModeChange] = []
        self._events: list[Event] = []

    def take(self, topic: str, received_ns: int, message: Any) -> None:
        """Take a message of one of :data:`RUN_TOPICS`; others are left alone.

        Raises
        ------
        ValueError
            It has other joints than the contract.
        """
        if topic == "executor_state":
            self._take_tick(message)
        elif topic == "action_chunk":
            self._take_chunk(received_ns, message)
        elif topic == "observation/state":
            self._measured.append((stamp_ns(message.header.stamp), self._columns(topic, message.position)))
        elif topic == "policy_state":
            self._take_policy(message)
        elif topic == "task_verdict":
            self._take_verdict(message)

    def flush(self) -> Run:
        """Give what was taken since the last call."""
        joints = len(self._contract.joint_names)
        columns = [list(values) for values in zip(*self._ticks, strict=True)] or [[] for _ in fields(Ticks)]
        t_ns, commanded, error, scale, position, velocity, acceleration, excess, refused = columns
        ticks = Ticks(
            t_ns=np.array(t_ns, np.int64),
            commanded=_rows(commanded, joints),
            tracking_error=_rows(error, joints),
            speed_scale=np.array(scale, np.float64),
            position_clamps=_rows(position, joints),
            velocity_clamps=_rows(velocity, joints),
            acceleration_clamps=_rows(acceleration, joints),
            limit_excess=_rows(excess, joints),
            refused=np.array(refused, np.float64),
        )
        measured = Measured(
            np.array([t for t, _ in self._measured], np.int64), _rows([q for _, q in self._measured], joints)
        )
        run = Run(self._contract, ticks, measured, self._chunks, self._seams, self._modes, self._events)
        self._begin()
        return run

    def _columns(self, topic: str, values: Any) -> Array:
        names = self._contract.joint_names
        if len(values) != len(names):
            raise ValueError(f"{topic}: has {len(values)} joints, the contract {len(names)}: {list(names)}")
        return np.array(values, np.float64)

    def _known(self, values: Any, otherwise: float) -> Array:
        """Take values of all joints [J]; ``otherwise`` where a message leaves them out."""
        joints = len(self._contract.joint_names)
        return np.array(values, np.float64) if len(values) == joints else np.full(joints, otherwise)

    def _take_tick(self, state: Any) -> None:
        ns = stamp_ns(state.header.stamp)
        if not ns:
            return
        names = self._contract.joint_names
        if tuple(state.joint_names) != names:
            raise ValueError(f"executor_state: has joints {list(state.joint_names)}, the contract {list(names)}")
        commanding = state.mode not in _NOT_COMMANDING
        self._ticks.append(
            (
                ns,
                self._known(state.commanded_position if commanding else (), np.nan),
                self._known(state.tracking_error, np.nan),
                float(state.speed_scale),
                self._known(state.position_clamps, 0.0),
                self._known(state.velocity_clamps, 0.0),
                self._known(state.acceleration_clamps, 0.0),
                self._known(state.limit_excess, 0.0),
                int(state.chunks_refused),
            )
        )
        mode = (int(state.mode), int(state.reason), str(state.reason_text))
        if self._mode is None or mode[:2] != self._mode[:2]:
            self._modes.append(ModeChange(ns, _name(Mode, mode[0]), _name(Reason, mode[1]), mode[2]))
        self._mode = mode
        first = stamp_ns(state.chunk_first_command)
        if first and first != self._seam_ns:
            self._seam_ns = first
            self._seams.append(Seam(first, int(state.chunk_id), stamp_ns(state.chunk_stamp)))
        refused = int(state.chunks_refused)
        if refused and refused != (self._refused or 0):
            # Several in one tick, and those from before the recording: the last one's reason stands for all.
            count = refused - (self._refused or 0)
            more = f" ({count} chunks)" if count > 1 else ""
            text = f"{state.last_refusal_text}{more}"
            self._events.append(Event(ns, "refusal", _name(Refusal, int(state.last_refusal)), text))
        self._refused = refused

    def _take_chunk(self, received_ns: int, chunk: Any) -> None:
        stamp, joints = stamp_ns(chunk.header.stamp), len(self._contract.joint_names)
        rows = np.array(chunk.positions, np.float64)
        if not chunk.rows or len(rows) != chunk.rows * joints:
            raise ValueError(f"action_chunk {chunk.chunk_id}: has {len(rows)} positions, expected rows of {joints}")
        self._chunks.append(
            ChunkRows(
                chunk_id=int(chunk.chunk_id),
                instruction=str(chunk.instruction),
                instruction_id=int(chunk.instruction_id),
                checkpoint_sha256=str(chunk.checkpoint_sha256),
                t_ns=stamp + np.arange(chunk.rows, dtype=np.int64) * _duration_ns(chunk.step),
                rows=rows.reshape(-1, joints),
                stamp_ns=stamp,
                camera_ns={n: stamp_ns(s) for n, s in zip(chunk.camera_names, chunk.camera_stamps, strict=True)},
                state_ns=stamp_ns(chunk.state_stamp),
                ready_ns=stamp_ns(chunk.observation_ready),
                start_ns=stamp_ns(chunk.inference_start),
                end_ns=stamp_ns(chunk.inference_end),
                received_ns=received_ns,
                frozen_rows=int(chunk.frozen_rows),
            )
        )
        self._instruct(received_ns, int(chunk.instruction_id), str(chunk.instruction))

    def _take_policy(self, state: Any) -> None:
        ns = stamp_ns(state.header.stamp)
        self._instruct(ns, int(state.instruction_id), str(state.instruction))
        reason = "" if state.ready else str(state.reason)
        if reason != self._policy_reason:
            self._policy_reason = reason
            self._events.append(Event(ns, "policy", "READY" if state.ready else "NOT_READY", reason))

    def _instruct(self, ns: int, number: int, text: str) -> None:
        number = number if text else 0
        if number != self._instruction_id:
            self._instruction_id = number
            self._events.append(Event(ns, "instruction", str(number), text))

    def _take_verdict(self, verdict: Any) -> None:
        found = (int(verdict.instruction_id), int(verdict.verdict))
        # Without an instruction nothing is judged: what was found last stands.
        if found != self._verdict and found[0]:
            self._verdict = found
            name = VERDICTS[found[1]] if found[1] < len(VERDICTS) else str(found[1])
            self._events.append(Event(stamp_ns(verdict.header.stamp), "verdict", name, str(verdict.text)))


def summarize(bag: Bag) -> Run:
    """Read a whole bag.

    Raises
    ------
    BagError
        Its messages have other joints than its contract, or are of an older version.
    """
    collector = RunCollector(bag.contract)
    try:
        for topic, received_ns, message in bag.merged(RUN_TOPICS):
            collector.take(topic, received_ns, message)
    except ValueError as error:
        raise BagError(f"{bag.path}: {error}") from error
    except AttributeError as error:
        # The types of a bag come with it: a field that is missing was not there when it was recorded.
        raise BagError(f"{bag.path}: was recorded with other messages than this version's: {error}") from error
    return collector.flush()


def _rows(values: Iterable[Array], joints: int) -> Array:
    """Stack rows [N, J]; [0, J] where there are none."""
    return np.array(list(values), np.float64).reshape(-1, joints)


def _duration_ns(duration: Any) -> int:
    return int(duration.sec) * 1_000_000_000 + int(duration.nanosec)


def _name(codes: Any, value: int) -> str:
    """Name of a code; the number where a newer recording knows more than this version."""
    try:
        return str(codes(value).name)
    except ValueError:
        return str(value)
