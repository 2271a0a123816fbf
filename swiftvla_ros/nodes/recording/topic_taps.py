# SPDX-License-Identifier: Apache-2.0
"""Takes topics as serialized messages, each with the quality of service that its publishers offer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.qos import QoSProfile
from rclpy.subscription import MessageInfo

from swiftvla_ros.episodes.bags.metadata import OfferedQos
from swiftvla_ros.episodes.bags.topics import RecordedTopic
from swiftvla_ros.episodes.recording.recording import IMAGE
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.messages import message_class

# What may wait in the middleware while this process does not run: seconds of the fastest topic, two of a camera.
_DEPTH = 400
_IMAGE_DEPTH = 60
_LOOK_FOR_PUBLISHERS_S = 0.2

Take = Callable[[bytes, MessageInfo], None]
"""What is done with a message: its bytes, and what rclpy knows of it."""


@dataclass(frozen=True)
class Tap:
    """A topic that somebody publishes: its full name, its type, and what its publishers offer."""

    name: str
    msgtype: str
    offered: OfferedQos


class TopicTaps:
    """Waits for the topics' publishers and subscribes to each topic once it has some: latched ones latched for us, too.

    ``found`` is called with each topic that has a publisher and returns what takes its messages.
    """

    def __init__(self, node: ManagedNode[Any], topics: Sequence[RecordedTopic], found: Callable[[Tap], Take]) -> None:
        self._node = node
        self._waiting = list(topics)
        self._found = found
        node.timer(_LOOK_FOR_PUBLISHERS_S, self._look)

    def _look(self) -> None:
        for topic in list(self._waiting):
            name = self._node.resolve_topic_name(topic.name)
            if publishers := self._node.get_publishers_info_by_topic(name):
                self._waiting.remove(topic)
                offered = qos.offered_by(publishers)
                profile = qos.as_offered(offered, depth=_IMAGE_DEPTH if topic.msgtype == IMAGE else _DEPTH)
                listen(self._node, topic.name, topic.msgtype, profile, self._found(Tap(name, topic.msgtype, offered)))


def listen(node: ManagedNode[Any], topic: str, msgtype: str, profile: QoSProfile, take: Take) -> None:
    """Subscribe to serialized messages, where their type is installed; ``take`` must not be a partial.

    rclpy counts the arguments of the callback; a partial would hide them.
    """
    try:
        kind = message_class(msgtype)
    except (ImportError, AttributeError):
        node.get_logger().warning(f"{topic}: not recorded, {msgtype} is not installed")
        return
    # Not node.subscribe, which gives no message info.
    node.own(node.create_subscription(kind, topic, take, profile, raw=True), node.destroy_subscription)
