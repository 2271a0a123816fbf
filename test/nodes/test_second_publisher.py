# SPDX-License-Identifier: Apache-2.0
"""Two nodes that publish the same joints move nothing (report F3); an arm's and a gripper's driver go together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rclpy
from executor_arm import CONTRACT, Arm, spinning
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from swiftvla_ros.msg import ExecutorState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import header

NAMES = CONTRACT.joint_names


@contextmanager
def publishing(
    name: str, topic: str, joints: slice, position: Callable[[], np.ndarray], hz: float = 100.0
) -> Iterator[None]:
    """A node of this name that publishes some joints."""
    node = rclpy.create_node(name)
    publisher = node.create_publisher(JointState, topic, qos.STATE)

    def send() -> None:
        ns = node.get_clock().now().nanoseconds
        values = [float(value) for value in position()[joints]]
        publisher.publish(JointState(header=header(ns), name=list(NAMES[joints]), position=values))

    node.create_timer(1 / hz, send)
    with spinning(node):
        yield


def test_joint_states_of_two_nodes_are_held_back_and_both_are_named(graph: Any) -> None:
    """A joint_state_publisher of zeros beside the broadcaster; a gripper's driver on the same topic is no rival."""
    process = graph.start("joint_state_node", robot="so101_sim")
    try:
        hold_back(graph, process)
    finally:
        process.end()


def hold_back(graph: Any, process: Any) -> None:
    """The test itself."""
    states = graph.listen(JointState, "observation/state", qos.STATE_INPUT)
    problems = graph.listen(String, "observation/state_problem", qos.LATCHED)
    topic, true, arm = CONTRACT.joint_states.topic, CONTRACT.from_si(CONTRACT.rest), len(NAMES) - 1
    with (
        publishing("arm_driver", topic, slice(0, arm), lambda: true),
        publishing("gripper_driver", topic, slice(arm, arm + 1), lambda: true, hz=30.0),
    ):
        graph.wait_until(lambda: len(states.messages) > 5, "states of two drivers come", 90)
        assert not problems.messages
        with publishing("joint_state_publisher", topic, slice(0, arm + 1), lambda: 0 * true):
            graph.wait_until(lambda: problems.last is not None and problems.last.data, "the rivals are told")
            text = problems.last.data
            assert "published on /joint_states by two nodes" in text
            assert "/joint_state_publisher" in text
            assert "/arm_driver" in text or "/gripper_driver" in text
            before = len(states.messages)
            graph.wait_until(lambda: "no complete new state" in process.output(), "nothing comes through")
            assert len(states.messages) <= before + 1
        graph.wait_until(lambda: len(states.messages) > before + 5, "states come again")
        assert problems.last.data == ""
    for message in states.messages:
        np.testing.assert_allclose(message.position, CONTRACT.rest, atol=1e-9)


def test_a_second_publisher_of_the_executors_own_input_stops_the_arm(arm: Arm) -> None:
    """Another joint_state_node, zeros: no command follows them, and the reason of the stop names both nodes."""
    arm.move()
    with publishing("second_arm", "observation/state", slice(0, None), lambda: 0 * CONTRACT.rest):
        arm.graph.wait_until(lambda: arm.mode == ExecutorState.HOLD, "the arm holds")
        text = arm.states.last.reason_text
        assert arm.states.last.reason == ExecutorState.REASON_STATE_STALE
        assert "published on observation/state by two nodes" in text
        assert "/second_arm" in text
        assert "/test" in text
    arm.check_limits()
    arm.move()
