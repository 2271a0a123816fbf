# SPDX-License-Identifier: Apache-2.0
"""Subscriptions and clients that the executor leaves alone: it visits each of the others at every wake-up.

Of a topic, what came is fetched from the middleware some ten times a second; a client is visited while an answer is
awaited.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rclpy.serialization import deserialize_message

from swiftvla_ros.nodes.ros.executor import Unattended, VisitedWhile
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.messages import sequence_of
from swiftvla_ros.panel.topic_rates import TopicRate


class FetchedTopic:
    """A subscription whose messages wait until they are fetched; as many as its QoS keeps.

    Attributes
    ----------
    rate
        How often the topic speaks, also of messages that nobody fetched.
    """

    def __init__(self, node: ManagedNode[Any], kind: type, topic: str, qos: Any, expected_hz: float = 0.0) -> None:
        self._kind, self._topic = kind, Unattended(node, kind, topic, qos)
        self.rate = TopicRate(self._topic.name, expected_hz)

    def fetch(self, now_s: float) -> list[bytes]:
        """The messages that came since the last time, as they came over the wire, the newest last."""
        return list(self._take(now_s, raw=True))

    def newest(self, now_s: float) -> Any:
        """The newest message that came since the last time, or None; of large ones this copies half as much."""
        found = None
        for message in self._take(now_s, raw=False):
            found = message
        return found

    def _take(self, now_s: float, *, raw: bool) -> Iterator[Any]:
        for message, info in self._topic.take(raw=raw):
            self.rate.heard(*sequence_of(info), now_s)
            yield message

    def read(self, raw: bytes) -> Any:
        """Read one of those that were fetched."""
        return deserialize_message(raw, self._kind)

    def close(self) -> None:
        """End the subscription."""
        self._topic.close()


class QuietClient:
    """A service's client that cleanup destroys."""

    def __init__(self, node: ManagedNode[Any], kind: type, name: str) -> None:
        self._awaited = 0
        group = VisitedWhile(lambda: self._awaited > 0)
        self._client = node.own(node.create_client(kind, name, callback_group=group), node.destroy_client)
        self.srv_name = str(self._client.srv_name)

    def is_ready(self) -> bool:
        """Whether somebody offers the service."""
        return bool(self._client.service_is_ready())

    def call(self, request: Any) -> Any:
        """Ask; the answer comes in a future."""
        self._awaited += 1
        future = self._client.call_async(request)
        future.add_done_callback(self._answered)
        return future

    def _answered(self, _future: Any) -> None:
        self._awaited -= 1
