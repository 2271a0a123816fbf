# SPDX-License-Identifier: Apache-2.0
"""trajectory_executor_node as a process, with a contract that wants somebody at the controls."""

from pathlib import Path
from typing import Any

from executor_arm import CONTRACT, Arm
from std_msgs.msg import Float64MultiArray

from swiftvla_ros.msg import OperatorHeartbeat, SpeedLimit
from swiftvla_ros.nodes.ros import qos


def test_the_arm_stands_while_nobody_has_its_controls(graph: Any, tmp_path: Path) -> None:
    """Protects from an arm that goes on when its operator's page, network or machine is gone."""
    rate = "  rate_hz: 100.0\n"
    text = CONTRACT.text.replace(rate, f"{rate}  operator: {{lost_after_s: 0.5}}\n")
    (tmp_path / "robot.yaml").write_text(text)
    urdf = CONTRACT.urdf_path
    assert urdf is not None
    (tmp_path / urdf.name).write_text(urdf.read_text())
    arm = Arm(graph, str(tmp_path / "robot.yaml"), Float64MultiArray, CONTRACT.control.topic)
    heartbeats = graph.node.create_publisher(OperatorHeartbeat, "operator_heartbeat", qos.CAMERA_INPUT)
    timer = graph.node.create_timer(0.1, lambda: heartbeats.publish(OperatorHeartbeat(holder="Ada")))

    def stands(reason: str) -> bool:
        state = arm.states.last
        slowed = state.speed_scale == 0.0 and state.speed_limit_source == "operator_presence"
        return slowed and reason in state.speed_limit_reason

    arm.move()
    timer.cancel()
    graph.wait_until(lambda: stands("nothing was heard of 'Ada'"), "it stands", 5)
    # Nobody but the executor itself says who is there.
    limits = graph.node.create_publisher(SpeedLimit, "speed_limit", qos.SPEED_LIMIT)
    limits.publish(SpeedLimit(source="operator_presence", percent=100.0))
    taken = arm.states.last.speed_limits_taken
    graph.wait_until(lambda: arm.states.last.speed_limits_taken > taken, "it says it again", 5)
    assert stands("nothing was heard of 'Ada'")
    timer.reset()
    graph.wait_until(arm.moves, "it goes on")
    arm.close()
    arm.check_limits()
