# SPDX-License-Identifier: Apache-2.0
"""What is asked of a topic of joint states before one is believed: who publishes it, and can it be true."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.observation.publisher_watch import PublisherWatch
from swiftvla_ros.observation.state_check import SETTLE_S, SEVERAL_SETTLE_S, StateCheck

_REPEAT_S = 5.0
# Until a first state is believed, the publishers are counted so often.
_COUNT_NS = 200_000_000
# rclpy gives ids of 24 bytes in Humble, of 16 later; DDS has 16.
_GID_BYTES = 16


class JointStateGate:
    """Lets through what can be believed of one topic, and says what is wrong with the rest.

    Where the driver's states come in, and again where commands begin; what lies between trusts the first.

    Attributes
    ----------
    problem
        Why nothing passes; empty while single states are refused at most. One sentence with joint, nodes and topic.
    """

    def __init__(self, node: ManagedNode[Any], topic: str) -> None:
        self._node, self._topic = node, topic
        self._check = StateCheck(node.contract)
        self._publishers = PublisherWatch()
        self._counted_ns: int | None = None
        self._several = False
        self.problem = ""

    @property
    def refused(self) -> int:
        """How many states were refused."""
        return self._check.refused

    def clear(self) -> None:
        """Forget all states, as after a clock jump."""
        self._check.clear()

    def heard(self, joints: Iterable[str], stamp_ns: int, info: Mapping[str, Any]) -> None:
        """Take note of who sent a message with these joints; ``info`` is rclpy's.

        A message of another time (of a bag that is played beside the robot) is used by nobody, and so no rival's.
        """
        if stamp_ns <= self._check.newest_ns:
            return
        gid = info.get("publisher_gid")
        publisher = self._publishers.identify(
            bytes(gid["data"])[:_GID_BYTES] if gid else None, info.get("publication_sequence_number")
        )
        self._publishers.note(publisher, joints, self._node.now_ns())

    def passes(self, positions: NDArray[np.float64], stamp_ns: int, *, commanding: bool = False) -> bool:
        """Whether a state can be believed; logs what is wrong with it."""
        now_ns, check = self._node.now_ns(), self._check
        refused = check.refused
        settle_s = SETTLE_S
        if not check.settled:
            settle_s = SEVERAL_SETTLE_S if self._has_several(now_ns) else SETTLE_S
        good = check.take(positions, stamp_ns, now_ns, commanding=commanding, settle_s=settle_s)
        self.problem = self._rivalry(now_ns) or self._contradiction()
        if self.problem:
            self._node.get_logger().error(f"{self.problem}; nothing moves", throttle_duration_sec=_REPEAT_S)
        elif check.refused > refused:
            self._node.get_logger().warning(
                f"{self._topic}: a state was refused ({check.refused} so far): {check.last_refusal}",
                throttle_duration_sec=_REPEAT_S,
            )
        return good and not self.problem

    def _has_several(self, now_ns: int) -> bool:
        if self._counted_ns is None or not 0 <= now_ns - self._counted_ns < _COUNT_NS:
            self._counted_ns, self._several = now_ns, self._node.count_publishers(self._topic) > 1
        return self._several

    def _rivalry(self, now_ns: int) -> str:
        rivals = self._publishers.rivals(now_ns)
        if rivals is None:
            return ""
        names = self._names()
        one, other = (names.get(gid, "a node that has left") for gid in (rivals.one, rivals.other))
        both = f"{one} and {other}" if rivals.one in names or rivals.other in names else _all_of(names)
        return f"joint '{rivals.joint}' is published on {self._topic} by two nodes, {both}; end one of them"

    def _contradiction(self) -> str:
        if not (problem := self._check.problem):
            return ""
        names = self._names()
        who = f" ({_all_of(names)} publish it; end all but the driver)" if len(names) > 1 else ""
        return f"{self._topic}: {problem}{who}"

    def _names(self) -> dict[Hashable, str]:
        """The topic's publishers by id."""
        return {
            bytes(end.endpoint_gid)[:_GID_BYTES]: f"{end.node_namespace.rstrip('/')}/{end.node_name}"
            for end in self._node.get_publishers_info_by_topic(self._topic)
        }


def _all_of(names: Mapping[Hashable, str]) -> str:
    return " and ".join(sorted(names.values()))
