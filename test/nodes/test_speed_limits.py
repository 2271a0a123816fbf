# SPDX-License-Identifier: Apache-2.0
"""The speed of trajectory_executor_node as a process: an operator's slider and monitors on the same arm."""

import math

import pytest
from executor_arm import Arm
from std_msgs.msg import Float64

from swiftvla_ros.msg import ExecutorState, SpeedLimit
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import header


def test_speed_scale_slows_pauses_and_goes_on(arm: Arm) -> None:
    """Percent on a latched topic, along the path and inside the limits; what is no such number changes nothing."""
    scale = arm.graph.node.create_publisher(Float64, "speed_scale", qos.LATCHED)

    def reaches(percent: float, expected: float) -> None:
        scale.publish(Float64(data=percent))
        arm.graph.wait_until(lambda: abs(arm.states.last.speed_scale - expected) < 1e-3, f"speed scale {percent}")

    arm.move()
    reaches(50.0, 0.5)
    for nonsense in (math.nan, -1.0, 150.0):
        scale.publish(Float64(data=nonsense))
    arm.graph.wait_until(lambda: arm.process.output().count("nothing changes") >= 1, "it is refused")
    assert arm.states.last.speed_scale == pytest.approx(0.5, abs=1e-3)
    reaches(0.0, 0.0)
    arm.graph.wait_until(lambda: not arm.moves(), "it stands on its path")
    arm.graph.wait_until(lambda: arm.states.last.reason == ExecutorState.REASON_PAUSED, "it says that it is paused")
    reaches(100.0, 1.0)
    arm.graph.wait_until(arm.moves, "it goes on")
    arm.check_limits()


def test_the_slider_cannot_undo_a_monitor_and_a_dead_one_is_forgotten(arm: Arm) -> None:
    """The lowest live limit counts and is named; one whose source falls silent ends with its validity."""
    scale = arm.graph.node.create_publisher(Float64, "speed_scale", qos.LATCHED)
    limits = arm.graph.node.create_publisher(SpeedLimit, "speed_limit", qos.SPEED_LIMIT)

    def limit(percent: float, valid_for: float, source: str = "heat") -> None:
        stamp = header(arm.now_ns())
        limits.publish(
            SpeedLimit(header=stamp, source=source, percent=percent, reason="joint 3 is hot", valid_for=valid_for)
        )

    def is_bound(expected: float, source: str) -> None:
        def told() -> bool:
            state = arm.states.last
            return abs(state.speed_scale - expected) < 1e-3 and state.speed_limit_source == source

        arm.graph.wait_until(told, f"speed scale {expected} by '{source}'")

    arm.move()
    limit(40.0, 0.0)
    is_bound(0.4, "heat")
    assert arm.states.last.speed_limit_reason == "joint 3 is hot"
    scale.publish(Float64(data=100.0))
    limit(0.0, 0.0, source="operator")
    arm.graph.wait_until(lambda: "is the topic speed_scale" in arm.process.output(), "nobody else is the operator")
    is_bound(0.4, "heat")
    scale.publish(Float64(data=20.0))
    is_bound(0.2, "operator")
    limit(10.0, 0.5)
    is_bound(0.1, "heat")
    is_bound(0.2, "operator")  # "heat" said no more
    scale.publish(Float64(data=100.0))
    is_bound(1.0, "")
    arm.check_limits()
