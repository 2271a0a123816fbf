# SPDX-License-Identifier: Apache-2.0
"""What rclpy's executor visits at every wake-up, left out: handlers of QoS events, and entities that nobody awaits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks


class WithoutEventHandlers:
    """Mixin of a node: what it creates has no event handlers, unless ``event_callbacks`` asks for some.

    rclpy gives each publisher and subscription two, in Python, that log a peer of incompatible QoS or type: in a node
    of eight topics more than half of all that is put in and out of each wait set. Here silence is explained by
    :mod:`~swiftvla_ros.nodes.ros.silence`, with cause and fix, and the graph by ``swiftvla doctor``.
    """

    def create_publisher(self, *args: Any, **kwargs: Any) -> Any:
        """As rclpy's."""
        kwargs.setdefault("event_callbacks", PublisherEventCallbacks(use_default_callbacks=False))
        return super().create_publisher(*args, **kwargs)  # type: ignore[misc]

    def create_subscription(self, *args: Any, **kwargs: Any) -> Any:
        """As rclpy's."""
        kwargs.setdefault("event_callbacks", SubscriptionEventCallbacks(use_default_callbacks=False))
        return super().create_subscription(*args, **kwargs)  # type: ignore[misc]


class VisitedWhile(CallbackGroup):
    """Entities that an executor visits, and wakes up for, only while ``wanted`` says so."""

    def __init__(self, wanted: Callable[[], bool]) -> None:
        super().__init__()
        self._wanted = wanted

    def can_execute(self, entity: Any) -> bool:  # noqa: ARG002
        """Whether they are wanted."""
        return self._wanted()

    def beginning_execution(self, entity: Any) -> bool:  # noqa: ARG002
        """The same."""
        return self._wanted()

    def ending_execution(self, entity: Any) -> None:
        """Nothing is locked."""
