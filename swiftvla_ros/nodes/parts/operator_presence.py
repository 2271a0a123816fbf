# SPDX-License-Identifier: Apache-2.0
"""Slows the arm while nobody who has its controls is there, where the contract's ``control.operator`` asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from swiftvla_ros.contract.control import OperatorPresence
from swiftvla_ros.msg import OperatorHeartbeat, SpeedLimit
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.messages import header

SOURCE = "operator_presence"
"""The source of its speed limit."""

_LOOK_S = 0.05
# A limit that is only told when it changes is not seen by who came later over a bad network.
_REPEAT_S = 1.0


class PresenceWatch:
    """Takes ``operator_heartbeat``; ``take`` gets each limit, which goes out on ``speed_limit``, too, for records.

    Times are those of arrival, on a steady clock: a heartbeat says that somebody is there now, whatever the clocks of
    other machines say. Before the first one nobody is there. All in the node's thread.
    """

    def __init__(
        self, node: ManagedNode[Any], presence: OperatorPresence, take: Callable[[SpeedLimit], object]
    ) -> None:
        self._node, self._presence, self._take = node, presence, take
        self._heard_s: float | None = None
        self._holder = ""
        self._told: tuple[float, bool] | None = None
        self._publisher = node.publisher(SpeedLimit, "speed_limit", qos.SPEED_LIMIT)
        node.subscribe(OperatorHeartbeat, "operator_heartbeat", self._hear, qos.CAMERA_INPUT, always=True)
        node.steady_timer(_LOOK_S, self._look)
        self._look()

    def _hear(self, message: OperatorHeartbeat) -> None:
        self._heard_s, self._holder = time.monotonic(), message.holder[:64]
        self._look()

    def _look(self) -> None:
        now_s = time.monotonic()
        lost = self._heard_s is None or now_s - self._heard_s > self._presence.lost_after_s
        if self._told is not None and self._told[1] == lost and (not lost or now_s - self._told[0] < _REPEAT_S):
            return
        self._told = now_s, lost
        limit = SpeedLimit(header=header(self._node.now_ns()), source=SOURCE, percent=100.0)
        if lost:
            limit.percent, limit.reason = self._presence.percent, self._reason()
        self._take(limit)
        self._publisher.publish(limit)

    def _reason(self) -> str:
        if self._heard_s is None:
            return "nobody has the controls yet: open the page of `swiftvla panel` and take them"
        return f"nothing was heard of '{self._holder}', who has the controls, for {self._presence.lost_after_s:g} s"
