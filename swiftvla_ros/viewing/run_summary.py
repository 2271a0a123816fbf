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
from swiftvla_ros.contract.executor_codes import ChunkSource, Mode, Reason, Refusal, TaskVerdictCode
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.observation.message_fields import (
    ChunkMessage,
    ExecutorTick,
    PolicyReport,
    TaskVerdictMessage,
    measured_positions,
    read_chunk,
    read_executor_state,
    read_policy_state,
    read_task_verdict,
    stamp_ns,
)

Array = NDArray[np.float64]
Times = NDArray[np.int64]

RUN_TOPICS = ("executor_state", "action_chunk", "observation/state", "policy_state", "task_verdict")
"""The topics that a run is made of, without their namespace."""

# Modes in which nothing is commanded.
_NOT_COMMANDING = (Mode.IDLE, Mode.RELEASED)


@dataclass(frozen=True)
class Ticks:
    """What the executor reported: one row for each of N control ticks, J joints in the contract's order."""

    t_ns: Times  # int64 [N], times of the ticks
    commanded: Array  # [N, J], rad or m; NaN where nothing was commanded
    tracking_error: Array  # [N, J], commanded minus measured, rad or m; NaN where unknown
    speed_scale: Array  # [N], 1 as planned
    # [N, J], counts since the executor was activated.
    position_clamps: Array
    velocity_clamps: Array
    acceleration_clamps: Array
    limit_excess: Array  # [N, J], how far limits bent the path at most until then, rad or m
    refused: Array  # [N], chunks refused since activation


@dataclass(frozen=True)
class Measured:
    """Measured joints: ``t_ns`` int64 [N] (the driver's stamps), ``position`` [N, J], rad or m."""

    t_ns: Times
    position: Array


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
class RunEvent:
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
    chunks: list[ChunkMessage] = field(default_factory=list)
    seams: list[Seam] = field(default_factory=list)
    modes: list[ModeChange] = field(default_factory=list)
    events: list[RunEvent] = field(default_factory=list)

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

    def of(self, kind: str) -> list[RunEvent]:
        """Events of one kind."""
        return [e for e in self.events if e.kind == kind]

    def seconds(self, t_ns: Times | int) -> Array:
        """Times as s since :attr:`zero_ns`."""
        return np.asarray((np.asarray(t_ns, np.int64) - self.zero_ns) * 1e-9)

    def first_commands(self) -> dict[int, int]:
        """When the first command of each followed chunk was sent, ns, by the stamp of its observation."""
        return {seam.stamp_ns: seam.t_ns for seam in self.seams}


class RunCollector:
    """Turns messages into a :class:`Run`; keeps what it must know to tell a change from a repetition."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._mode: tuple[int, int] | None = None
        self._seam_ns = 0
        self._instruction_id = 0
        self._refused: int | None = None
        self._verdict: tuple[int, int] | None = None
        self._policy_reason: str | None = None
        self._begin()

    def _begin(self) -> None:
        self._ticks: list[tuple[Any, ...]] = []
        self._measured: list[tuple[int, Array]] = []
        self._chunks: list[ChunkMessage] = []
        self._seams: list[Seam] = []
        self._modes: list[ModeChange] = []
        self._events: list[RunEvent] = []

    def take(self, topic: str, received_ns: int, message: Any) -> None:
        """Take a message of one of :data:`RUN_TOPICS`; others are left alone.

        Raises ValueError where it has other joints than the contract.
        """
        if topic == "executor_state":
            self._take_tick(read_executor_state(message))
        elif topic == "action_chunk":
            self._take_chunk(read_chunk(message, received_ns))
        elif topic == "observation/state":
            self._take_measured(message)
        elif topic == "policy_state":
            self._take_policy(read_policy_state(message))
        elif topic == "task_verdict":
            self._take_verdict(read_task_verdict(message))

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

    def _take_measured(self, message: Any) -> None:
        names = self._contract.joint_names
        # A number that is not finite is a gap in the curve.
        positions = measured_positions(message, names, finite=False)
        if len(positions) != len(names):
            raise ValueError(f"observation/state: has {len(positions)} positions, the contract's joints {list(names)}")
        self._measured.append((stamp_ns(message.header.stamp), positions))

    def _known(self, values: Any, otherwise: float) -> Array:
        """Take values of all joints [J]; ``otherwise`` where a message leaves them out."""
        joints = len(self._contract.joint_names)
        return np.array(values, np.float64) if len(values) == joints else np.full(joints, otherwise)

    def _take_tick(self, tick: ExecutorTick) -> None:
        ns = tick.stamp_ns
        if not ns:
            return
        names = self._contract.joint_names
        if tick.joint_names != names:
            raise ValueError(f"executor_state: has joints {list(tick.joint_names)}, the contract {list(names)}")
        commanding = tick.mode not in _NOT_COMMANDING
        self._ticks.append(
            (
                ns,
                self._known(tick.commanded if commanding else (), np.nan),
                self._known(tick.tracking_error, np.nan),
                tick.speed_scale,
                self._known(tick.position_clamps, 0.0),
                self._known(tick.velocity_clamps, 0.0),
                self._known(tick.acceleration_clamps, 0.0),
                self._known(tick.limit_excess, 0.0),
                tick.refused,
            )
        )
        mode = (tick.mode, tick.reason)
        if mode != self._mode:
            self._modes.append(ModeChange(ns, _name(Mode, mode[0]), _name(Reason, mode[1]), tick.reason_text))
        self._mode = mode
        own = (
            tick.chunk_source != ChunkSource.OPERATOR
        )  # a person's chunks come too fast to be seams that anybody looks at
        if own and tick.first_command_ns and tick.first_command_ns != self._seam_ns:
            self._seam_ns = tick.first_command_ns
            self._seams.append(Seam(tick.first_command_ns, tick.chunk_id, tick.chunk_stamp_ns))
        if tick.refused and tick.refused != (self._refused or 0):
            # Several in one tick, and those from before the recording: the last one's reason stands for all.
            count = tick.refused - (self._refused or 0)
            more = f" ({count} chunks)" if count > 1 else ""
            text = f"{tick.last_refusal_text}{more}"
            self._events.append(RunEvent(ns, "refusal", _name(Refusal, tick.last_refusal), text))
        self._refused = tick.refused

    def _take_chunk(self, chunk: ChunkMessage) -> None:
        joints = len(self._contract.joint_names)
        if chunk.positions.shape[1:] != (joints,) or not len(chunk.positions):
            raise ValueError(
                f"action_chunk {chunk.chunk_id}: has {chunk.positions.size} positions, expected rows of {joints}"
            )
        self._chunks.append(chunk)
        self._instruct(chunk.received_ns, chunk.instruction_id, chunk.instruction)

    def _take_policy(self, report: PolicyReport) -> None:
        self._instruct(report.stamp_ns, report.instruction_id, report.instruction)
        if report.reason != self._policy_reason:
            self._policy_reason = report.reason
            name = "NOT_READY" if report.reason else "READY"
            self._events.append(RunEvent(report.stamp_ns, "policy", name, report.reason))

    def _instruct(self, ns: int, number: int, text: str) -> None:
        number = number if text else 0
        if number != self._instruction_id:
            self._instruction_id = number
            self._events.append(RunEvent(ns, "instruction", str(number), text))

    def _take_verdict(self, verdict: TaskVerdictMessage) -> None:
        found = (verdict.instruction_id, verdict.verdict)
        # Without an instruction nothing is judged: what was found last stands.
        if found != self._verdict and found[0]:
            self._verdict = found
            self._events.append(RunEvent(verdict.stamp_ns, "verdict", _name(TaskVerdictCode, found[1]), verdict.text))


def summarize(bag: Bag) -> Run:
    """Read a whole bag.

    Raises BagError where its messages have other joints than its contract, or are of an older version.
    """
    if bag.topic("observation/state") is None:
        bag.need("executor_state", "action_chunk")
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


def _name(codes: Any, value: int) -> str:
    """Name of a code; the number where a newer recording knows more than this version."""
    try:
        return str(codes(value).name)
    except ValueError:
        return str(value)
