# SPDX-License-Identifier: Apache-2.0
"""In which order a controller takes the joints of an array, which has no names: asked, and held to the contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters

from swiftvla_ros.contract.contract import CommandPart
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode

ORDERS = "command_orders"
"""A robot of ours tells with this parameter what it takes: for each topic a text ``topic: joint, joint``."""

# ros2_control's forward_command_controller and its like.
JOINTS = "joints"
_LOOK_S = 0.1
# A node that has not answered by then has no parameters to tell: a tool that listens.
_PATIENCE_LOOKS = 15
# One that answered wrongly may be started again with another order.
_AGAIN_LOOKS = 20
# The graph may lose sight of a node for a moment; who took another order is believed to have ended after so many.
_GONE_LOOKS = 10


@dataclass
class _Listener:
    """A node that takes a part's commands, and what it said of its order; None: nothing (yet)."""

    part: CommandPart
    client: Any
    order: tuple[str, ...] | None = None
    asked: Any = None
    looks: int = 0
    unseen: int = 0
    answered: bool = False

    @property
    def wrong(self) -> tuple[str, ...] | None:
        """The order that it told, where that is another than the contract's."""
        return self.order if self.order != self.part.names else None


class ControllerOrders:
    """Compares what the takers of array commands say of their order with the contract's.

    Until a node that takes them has answered, or has had its time to, no motion begins. A node without a ``joints``
    parameter tells nothing; then the order has to be the contract's, which it may state. ``differs`` is called when one
    tells another order.

    Attributes
    ----------
    problem
        What is wrong, with both orders and the fix; empty where nothing is.
    """

    def __init__(self, node: ManagedNode[Any], differs: Callable[[], object]) -> None:
        self._node, self._differs = node, differs
        self._parts = [part for part in node.contract.command_parts if part.is_array]
        self._listeners: dict[tuple[str, str], _Listener] = {}
        self._counts: dict[str, int] = {part.topic: -1 for part in self._parts}
        self._asking: tuple[str, ...] = ()
        self._warned = False
        self.problem = ""
        if self._parts:
            node.timer(_LOOK_S, self._look)
            node.own(self, ControllerOrders.close)

    @property
    def doubt(self) -> str:
        """Why no motion may begin; empty where one may. Also for another thread than the node's."""
        asking = self._asking
        unseen = [
            t for t in (p.topic for p in self._parts) if self._node.count_subscribers(t) > max(self._counts[t], 0)
        ]
        if self.problem or not (asking or unseen):
            return self.problem
        return f"{' and '.join(asking or unseen)}: the joint order that is taken there is being asked for"

    def _look(self) -> None:
        """Ask the nodes that take commands now, and judge what was answered."""
        if not (self._asking or self.problem) and all(
            self._node.count_subscribers(topic) == count for topic, count in self._counts.items()
        ):
            return  # counting costs a hundredth of asking who they are
        present = {}
        for part in self._parts:
            ends = self._node.get_subscriptions_info_by_topic(part.topic)
            self._counts[part.topic] = len(ends)
            for end in ends:
                present[part.topic, f"{end.node_namespace.rstrip('/')}/{end.node_name}"] = part
        for key in [key for key in self._listeners if key not in present]:
            listener = self._listeners[key]
            listener.unseen += 1
            if not listener.wrong or listener.unseen > _GONE_LOOKS:
                self._node.destroy_client(self._listeners.pop(key).client)
        for key, part in present.items():
            if key not in self._listeners:
                client = self._node.create_client(GetParameters, f"{key[1]}/get_parameters")
                self._listeners[key] = _Listener(part, client)
            self._listeners[key].unseen = 0
            self._ask(self._listeners[key])
        self._judge()

    def close(self) -> None:
        """Ask no more."""
        while self._listeners:
            self._node.destroy_client(self._listeners.popitem()[1].client)

    def _ask(self, listener: _Listener) -> None:
        listener.looks += 1
        if listener.wrong and listener.looks % _AGAIN_LOOKS == 0:
            listener.asked = None
        if listener.asked is None and listener.client.service_is_ready():
            self._ask_for(listener, JOINTS)
        listener.answered |= listener.looks > _PATIENCE_LOOKS

    def _ask_for(self, listener: _Listener, name: str) -> None:
        # One at a time: rclcpp answers nothing at all where one of several is not declared.
        listener.asked = listener.client.call_async(GetParameters.Request(names=[name]))
        listener.asked.add_done_callback(lambda future: self._hear(listener, name, future))

    def _hear(self, listener: _Listener, name: str, future: Any) -> None:
        values = future.result().values if future.exception() is None else []
        told = values[0] if values else None
        texts = list(told.string_array_value) if told and told.type == ParameterType.PARAMETER_STRING_ARRAY else None
        if name == JOINTS and texts is None:
            self._ask_for(listener, ORDERS)
            return
        listener.order = tuple(texts) if name == JOINTS and texts else order_of(texts or [], listener.part.topic)
        listener.answered = True
        self._judge()

    def _judge(self) -> None:
        self._asking = tuple(name for (_, name), listener in self._listeners.items() if not listener.answered)
        wrong = [
            order_problem(listener.part, name, order)
            for (_, name), listener in self._listeners.items()
            if (order := listener.wrong)
        ]
        before, self.problem = self.problem, wrong[0] if wrong else ""
        if self.problem and self.problem != before:
            self._differs()
        for part in self._parts:
            listeners = [entry for entry in self._listeners.values() if entry.part is part]
            silent = listeners and all(entry.answered and entry.order is None for entry in listeners)
            if silent and not part.order_stated and len(part.names) > 1 and not self._warned:
                self._warned = True
                self._node.get_logger().warning(
                    f"nobody on {part.topic} tells in which order it takes the joints (no parameter '{JOINTS}'): "
                    f"commands go out as {list(part.names)}; write the controller's order as control.joints"
                )


def orders_of(parts: Sequence[CommandPart]) -> list[str]:
    """What a robot that takes the commands of a contract tells as ``ORDERS``."""
    return [f"{part.topic}: {', '.join(part.names)}" for part in parts]


def order_of(orders: Sequence[str], topic: str) -> tuple[str, ...] | None:
    """The order in which a topic's array is taken, of what a robot of ours told."""
    told = dict(text.split(": ", 1) for text in orders)
    return tuple(told[topic].split(", ")) if topic in told else None


def order_problem(part: CommandPart, name: str, order: Sequence[str]) -> str:
    """Say how the order that a node takes differs from the contract's, and what to write."""
    missing = [joint for joint in part.names if joint not in order]
    more = [joint for joint in order if joint not in part.names]
    text = f"{name} takes {part.topic} in the order {list(order)}, the contract has {list(part.names)}"
    if more:
        return f"{text}: {more} are not commanded by the contract; give the controller its joints, or add them"
    if missing:
        return f"{text}: the controller has no {missing}; add them to its parameter '{JOINTS}'"
    return f"{text}; write control.joints: [{', '.join(order)}] (with a list of outputs: its part's joints)"
