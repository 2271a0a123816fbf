# SPDX-License-Identifier: Apache-2.0
"""What was commanded at a time, from what a bag of a teleoperated robot has: the contract's ``demonstrations.actions``.

``commands`` are the positions that the executor reports where it commanded the arm, else the command topics as
published. Of a trajectory that is the place on it at the time asked for: its first point before that is due, its last
one after. Nothing is looked at that came later.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.contract import CommandPart
from swiftvla_ros.contract.executor_codes import Mode
from swiftvla_ros.contract.sections.demonstrations import ActionTopic
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.bags.namespaces import OWN, STATE
from swiftvla_ros.episodes.datasets.demonstrations.magnitudes import check_magnitude
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.leader_state import leader_positions
from swiftvla_ros.observation.message_fields import read_executor_state, stamp_ns

Array = NDArray[np.float64]

_NS = 1_000_000_000
EXECUTOR = "executor_state"
# No operator's trajectory begins later than this.
_MOST_AHEAD_NS = 10 * _NS


class Action(NamedTuple):
    """What was commanded [J], rad or m, when (the oldest joint's), and whether it is to be imitated."""

    position: Array
    stamp_ns: int
    expert: bool = True


class ActionTrack(Protocol):
    """Takes the messages of its topics, name → type, in the order of reception, and tells what was commanded."""

    @property
    def topics(self) -> Mapping[str, str]:
        """Its topics and their types."""

    def take(self, topic: str, time_ns: int, message: Any) -> None:
        """Take a message that counts from ``time_ns`` on; raises BagError where it is another robot's."""

    def at(self, time_ns: int) -> Action | str:
        """Tell the newest command at a time, or the topic of which there is none that is fresh."""


def action_track(bag: Bag, contract: Contract) -> ActionTrack | None:
    """Return what reads the actions of a bag; None where they are the state at the next step.

    Raises
    ------
    BagError
        The contract's commands are no positions on a topic.
    """
    source = contract.demonstrations.actions
    if source == "measured":
        return None
    if source == "leader":
        return _LeaderTrack(contract)
    if isinstance(source, ActionTopic):
        part = CommandPart(
            source.topic, "forward_position", np.arange(len(contract.joints)), source.joints or contract.joint_names
        )
        if source.joints is not None:
            part = _ordered(part, contract)
        return _CommandTrack(contract, [part], {source.topic: source.msgtype}, si=source.unit == "si")
    if bag.topic(EXECUTOR) is not None:
        return _ExecutorTrack(contract)
    wrong = [part for part in contract.command_parts if part.kind not in ("forward_position", "joint_trajectory")]
    if wrong:
        raise BagError(
            f"{contract.path}: control.output {wrong[0].kind} on {wrong[0].topic} has no positions to imitate; write "
            "demonstrations.actions: leader, measured, or a topic of positions"
        )
    return _CommandTrack(contract, list(contract.command_parts), contract.command_topics)


def _ordered(part: CommandPart, contract: Contract) -> CommandPart:
    index = contract.joint_names.index
    return CommandPart(part.topic, part.kind, np.array([index(n) for n in part.names], np.intp), part.names)


class _Newest:
    """What came, by time; what is older than ``patience_ns`` behind its own end tells nothing of now."""

    def __init__(self, patience_ns: int) -> None:
        self._patience_ns = patience_ns
        self._times: list[int] = []
        self._values: list[tuple[int, Any]] = []

    def add(self, time_ns: int, value: Any, lasts_ns: int = 0) -> None:
        if not self._times or time_ns > self._times[-1]:
            self._times.append(time_ns)
            self._values.append((time_ns + lasts_ns, value))

    def at(self, time_ns: int) -> tuple[int, Any] | None:
        """When it came, and what it is."""
        index = bisect_right(self._times, time_ns) - 1
        if index < 0 or time_ns - self._values[index][0] > self._patience_ns:
            return None
        return self._times[index], self._values[index][1]


def _patience_ns(contract: Contract) -> int:
    return round(contract.policy.max_state_age_s * _NS)


class _LeaderTrack:
    def __init__(self, contract: Contract) -> None:
        self.topics = {contract.leader.topic: STATE}
        self._contract = contract
        self._newest = _Newest(_patience_ns(contract))

    def take(self, topic: str, time_ns: int, message: Any) -> None:
        try:
            position = leader_positions(message, self._contract)
        except JointStateError as error:
            raise BagError(str(error)) from error
        check_magnitude(topic, position, self._contract)
        self._newest.add(time_ns, position)

    def at(self, time_ns: int) -> Action | str:
        found = self._newest.at(time_ns)
        return self._contract.leader.topic if found is None else Action(found[1], found[0])


class _ExecutorTrack:
    def __init__(self, contract: Contract) -> None:
        self.topics = {EXECUTOR: OWN[EXECUTOR]}
        self._contract = contract
        self._newest = _Newest(_patience_ns(contract))

    def take(self, topic: str, time_ns: int, message: Any) -> None:
        tick = read_executor_state(message)
        if tick.commanded.size and tick.joint_names != self._contract.joint_names:
            raise BagError(
                f"{topic} has joints {list(tick.joint_names)}, {self._contract.path} has "
                f"{list(self._contract.joint_names)}; name the contract that the bag was recorded with"
            )
        # Where nothing is commanded, what was is over.
        value = (tick.commanded, tick.mode in (Mode.FRESH, Mode.TAIL)) if tick.commanded.size else None
        self._newest.add(time_ns, value)

    def at(self, time_ns: int) -> Action | str:
        found = self._newest.at(time_ns)
        if found is None or found[1] is None:
            return EXECUTOR
        position, follows = found[1]
        return Action(position, found[0], follows)


class _Points(NamedTuple):
    """Positions [N, joints of the part] that are due at ``times_ns`` [N]."""

    times_ns: NDArray[np.int64]
    positions: Array


class _CommandTrack:
    """Command topics as published: each part's newest message."""

    def __init__(
        self, contract: Contract, parts: list[CommandPart], topics: Mapping[str, str], *, si: bool = False
    ) -> None:
        self.topics = topics
        self._contract = contract
        self._parts = {part.topic: part for part in parts}
        self._si = si
        self._newest = {part.topic: _Newest(_patience_ns(contract)) for part in parts}

    def take(self, topic: str, time_ns: int, message: Any) -> None:
        part = self._parts[topic]
        points = self._points(part, time_ns, message)
        if len(points.positions) and np.isfinite(points.positions).all():
            lasts_ns = max(0, int(points.times_ns[-1]) - time_ns)
            self._newest[topic].add(time_ns, points, lasts_ns)

    def at(self, time_ns: int) -> Action | str:
        position, oldest_ns = np.zeros(len(self._contract.joints)), time_ns
        for topic, part in self._parts.items():
            found = self._newest[topic].at(time_ns)
            if found is None:
                return topic
            at_ns, points = found
            oldest_ns = min(oldest_ns, at_ns)
            # From the first time on, so that float64 keeps the ns.
            times = points.times_ns - points.times_ns[0]
            for column, joint in enumerate(part.joints):
                position[joint] = np.interp(time_ns - points.times_ns[0], times, points.positions[:, column])
        return Action(position, oldest_ns)

    def _points(self, part: CommandPart, time_ns: int, message: Any) -> _Points:
        if hasattr(message, "data"):  # Float64MultiArray
            values = np.array(message.data, np.float64)
            if values.shape != part.joints.shape:
                raise BagError(
                    f"{part.topic}: {values.size} numbers, but {len(part.joints)} joints ({', '.join(part.names)}); "
                    "name them in this order in the contract"
                )
            return _Points(np.array([time_ns]), self._in_si(part, values[None]))
        names = list(message.joint_names if hasattr(message, "points") else message.name)
        if missing := [name for name in part.names if name not in names]:
            raise BagError(
                f"{part.topic}: has no joint {', '.join(missing)}, only {names}; name the contract of this robot"
            )
        order = [names.index(name) for name in part.names]
        if not hasattr(message, "points"):  # JointState
            rows = [np.array(message.position, np.float64)]
            times = [time_ns]
        else:
            rows = [np.array(point.positions, np.float64) for point in message.points]
            # A stamp of zero begins now; one ahead begins later, if it is of this clock.
            ahead_ns = stamp_ns(message.header.stamp) - time_ns
            begin_ns = time_ns + (ahead_ns if 0 < ahead_ns < _MOST_AHEAD_NS else 0)
            times = [begin_ns + stamp_ns(point.time_from_start) for point in message.points]
        if any(len(row) != len(names) for row in rows) or not rows:
            raise BagError(f"{part.topic}: a message has not one position for each of its joints; record it again")
        return _Points(np.array(times, np.int64), self._in_si(part, np.stack(rows)[:, order]))

    def _in_si(self, part: CommandPart, values: Array) -> Array:
        """Positions [N, joints of the part] in rad and m, inside what can be meant."""
        whole = np.tile(self._contract.from_si(self._contract.rest), (len(values), 1))
        whole[:, part.joints] = self._contract.from_si(values, part.joints) if self._si else values
        si = self._contract.to_si(whole)
        check_magnitude(part.topic, si, self._contract)
        return si[:, part.joints]
