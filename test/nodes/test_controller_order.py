# SPDX-License-Identifier: Apache-2.0
"""A controller that takes an array's joints in another order gets no command (report F4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import rclpy
from executor_arm import CONTRACT, Arm, spinning
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.parameter import Parameter
from std_msgs.msg import Float64MultiArray

from swiftvla_ros.msg import ExecutorState
from swiftvla_ros.nodes.ros import qos

NAMES = list(CONTRACT.joint_names)


@pytest.fixture
def controller(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A forward_command_controller whose joints begin with the elbow, as a UR lists them."""
    request.getfixturevalue("graph")
    node = rclpy.create_node("forward_position_controller")
    node.declare_parameter("joints", [NAMES[2], NAMES[1], NAMES[0], *NAMES[3:]])
    node.create_subscription(Float64MultiArray, CONTRACT.control.topic, lambda _message: None, qos.COMMAND)
    with spinning(node):
        yield node


def test_another_order_is_refused_with_both_and_the_fix(graph: Any, controller: Any) -> None:
    """No command goes out; the node is inactive and says why; with the right order it can be activated again."""
    # The order may be refused, and the node inactive, before the first state of an active one is heard.
    modes = ExecutorState.IDLE, ExecutorState.RELEASED
    arm = Arm(graph, "so101_sim", Float64MultiArray, CONTRACT.control.topic, modes=modes)
    arm.sending.set()
    output = arm.process.output
    graph.wait_until(lambda: "Nothing is commanded until it is activated again" in output(), "the order is refused")
    assert f"takes {CONTRACT.control.topic} in the order ['elbow_flex', 'shoulder_lift', 'shoulder_pan'" in output()
    assert f"the contract has {NAMES}" in output()
    assert "write control.joints: [elbow_flex, shoulder_lift, shoulder_pan," in output()
    activate = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_ACTIVATE))
    assert not graph.call(ChangeState, "trajectory_executor/change_state", activate).success
    assert "can't activate: /forward_position_controller takes" in output()
    assert not arm.commands.messages
    controller.set_parameters([Parameter("joints", value=NAMES)])
    graph.wait_until(
        lambda: graph.call(ChangeState, "trajectory_executor/change_state", activate).success, "it is activated"
    )
    arm.move()
    assert arm.commands.messages
    arm.close()
