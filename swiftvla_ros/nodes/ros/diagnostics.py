# SPDX-License-Identifier: Apache-2.0
"""A node's health on /diagnostics, once a second, for rqt_robot_monitor and aggregators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.messages import header

PERIOD_S = 1.0


class Level(IntEnum):
    """How well it goes, as diagnostic_msgs/DiagnosticStatus has it."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Health:
    """What a node says of itself: a level, a sentence, and numbers by their names."""

    level: Level
    text: str
    values: Mapping[str, Any] = field(default_factory=dict)


def publish_diagnostics(node: ManagedNode[Any], report: Callable[[], Health]) -> None:
    """Ask ``report()`` every ``PERIOD_S`` from now until cleanup, and publish it where diagnostic_msgs is installed."""
    try:
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
    except ImportError:
        node.get_logger().info("diagnostic_msgs is not installed: nothing on /diagnostics")
        node.steady_timer(PERIOD_S, report)
        return
    publisher = node.publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)

    def publish() -> None:
        health = report()
        if silent := node.silence.clock_text or node.silence.text:
            text = health.text if silent in health.text else f"{health.text}; {silent}"
            health = Health(max(health.level, Level.WARN), text, health.values)
        status = DiagnosticStatus(
            level=bytes([health.level]),
            name=node.get_fully_qualified_name(),
            hardware_id=node.contract.robot,
            message=health.text,
            values=[KeyValue(key=key, value=str(value)) for key, value in health.values.items()],
        )
        publisher.publish(DiagnosticArray(header=header(node.now_ns()), status=[status]))

    node.steady_timer(PERIOD_S, publish)
