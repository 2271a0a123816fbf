# SPDX-License-Identifier: Apache-2.0
"""Publishers and subscriptions without rclpy's handlers of QoS events, which its executor visits at every wake-up."""

from __future__ import annotations

from typing import Any

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
