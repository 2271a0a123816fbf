# SPDX-License-Identifier: Apache-2.0
"""sim_robot_node as a process: it must look like any robot's driver."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Not mujoco itself: the backend chooses OpenGL's platform before MuJoCo is imported.
pytest.importorskip("swiftvla_ros.sim.backend", reason="mujoco is not installed: pip install mujoco")

from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from swiftvla_ros.contract import load_contract
from swiftvla_ros.msg import PolicyState, TaskVerdict
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import to_duration
from swiftvla_ros.observation.image_decoding import rgb_of
from swiftvla_ros.observation.message_fields import stamp_ns

CONTRACT = load_contract("so101_sim")


@pytest.fixture(scope="module")
def robot(graph: Any) -> Any:
    """Start the robot with a clock of its own; its ends are returned by name."""
    ends = {
        "images": graph.listen(Image, CONTRACT.camera("wrist").topic, qos.CAMERA_INPUT),
        "joints": graph.listen(JointState, CONTRACT.joint_states.topic, qos.STATE_INPUT),
        "clock": graph.listen(Clock, "/clock", qos.CLOCK),
        "verdicts": graph.listen(TaskVerdict, "task_verdict", qos.LATCHED),
        "commands": graph.node.create_publisher(Float64MultiArray, CONTRACT.control.topic, qos.COMMAND),
        "policy": graph.node.create_publisher(PolicyState, "policy_state", qos.LATCHED),
        "process": graph.start("sim_robot_node", robot="so101_sim", seed=7, publish_clock=True),
    }
    graph.wait_until(lambda: ends["images"].messages and ends["joints"].messages, "the robot talks", 90)
    return ends


def test_images_and_joint_states_are_of_one_clock(graph: Any, robot: Any) -> None:
    """Size and joints of the contract; stamps are the simulated time that /clock tells."""
    graph.wait_until(lambda: len(robot["joints"].messages) > 100, "joint states keep coming", 20)
    assert rgb_of(robot["images"].last).shape == (480, 640, 3)
    assert tuple(robot["joints"].last.name) == CONTRACT.joint_names
    stamps = np.array([stamp_ns(m.header.stamp) for m in robot["joints"].messages])
    assert (np.diff(stamps) > 0).all()
    assert abs(np.median(np.diff(stamps)) - 1e9 / CONTRACT.joint_states.rate_hz) < 5e6
    clock_ns = stamp_ns(robot["clock"].last.clock)
    assert abs(clock_ns - stamps[-1]) < 1_000_000_000
    assert clock_ns < 600_000_000_000
    assert stamp_ns(robot["images"].last.header.stamp) <= stamp_ns(robot["clock"].last.clock)


def test_a_forward_command_moves_the_arm(graph: Any, robot: Any) -> None:
    """The arm goes where it is told; a command with NaN, or of another length, is refused with an error."""
    target = CONTRACT.rest.copy()
    target[0] += 0.3
    robot["commands"].publish(Float64MultiArray(data=CONTRACT.from_si(target).tolist()))
    graph.wait_until(lambda: abs(robot["joints"].last.position[0] - target[0]) < 0.03, "the arm is there")
    robot["commands"].publish(Float64MultiArray(data=[float("nan")] * 6))
    robot["commands"].publish(Float64MultiArray(data=[0.0, 0.0]))
    graph.wait_until(lambda: "refused" in robot["process"].output(), "the command is refused")
    assert abs(robot["joints"].last.position[0] - target[0]) < 0.05


def test_it_judges_the_instruction_of_the_policy(graph: Any, robot: Any) -> None:
    """A task that it knows is pending under the instruction's number; one that it does not know has failed."""
    robot["policy"].publish(PolicyState(instruction="pick up the red block", instruction_id=5))
    graph.wait_until(lambda: robot["verdicts"].last and robot["verdicts"].last.instruction_id == 5, "a verdict comes")
    assert robot["verdicts"].last.verdict == TaskVerdict.PENDING
    robot["policy"].publish(PolicyState(instruction="dance", instruction_id=6))
    graph.wait_until(lambda: robot["verdicts"].last.instruction_id == 6, "a verdict comes")
    assert robot["verdicts"].last.verdict == TaskVerdict.FAILED
    assert "dance" in robot["verdicts"].last.text


def test_reset_takes_the_next_scene(graph: Any, robot: Any) -> None:
    """~/reset puts the arm to rest in another scene, and time goes on."""
    before_ns = stamp_ns(robot["clock"].last.clock)
    assert graph.trigger("sim_robot/reset").message == "scene 8"
    graph.wait_until(lambda: np.allclose(robot["joints"].last.position, CONTRACT.rest, atol=0.05), "the arm is at rest")
    assert stamp_ns(robot["clock"].last.clock) > before_ns
    assert robot["process"].end() == 0, robot["process"].output()


def test_a_trajectory_is_followed_by_name(graph: Any, tmp_path: Path) -> None:
    """With output: joint_trajectory the robot follows points in time, their joints in any order."""
    text = CONTRACT.text.replace("output: forward_position", "output: joint_trajectory")
    (tmp_path / "trajectory.yaml").write_text(text.replace(CONTRACT.control.topic, "/arm_controller/joint_trajectory"))
    for urdf in CONTRACT.path.parent.glob("*.urdf"):
        (tmp_path / urdf.name).write_text(urdf.read_text())
    joints = graph.listen(JointState, CONTRACT.joint_states.topic, qos.STATE_INPUT)
    commands = graph.node.create_publisher(JointTrajectory, "/arm_controller/joint_trajectory", qos.COMMAND)
    process = graph.start("sim_robot_node", "sim_trajectory", robot=str(tmp_path / "trajectory.yaml"))
    graph.wait_until(lambda: joints.messages and commands.get_subscription_count(), "the robot talks", 90)
    target = CONTRACT.rest.copy()
    target[0] += 0.3
    names = list(CONTRACT.joint_names)
    points = [
        JointTrajectoryPoint(
            positions=position[::-1].tolist(), velocities=[0.0] * 6, time_from_start=to_duration(after_ns)
        )
        for position, after_ns in ((CONTRACT.rest, 100_000_000), (target, 900_000_000))
    ]
    joints.clear()
    commands.publish(JointTrajectory(joint_names=names[::-1], points=points))
    graph.wait_until(lambda: joints.messages and abs(joints.last.position[0] - target[0]) < 0.03, "the arm is there")
    followed = np.array([m.position for m in list(joints.messages)])
    assert np.abs(followed[:, 1:] - CONTRACT.rest[1:]).max() < 0.05
    stamps = np.array([stamp_ns(m.header.stamp) for m in list(joints.messages)[: len(followed)]])
    moving = (followed[:, 0] > CONTRACT.rest[0] + 0.03) & (followed[:, 0] < target[0] - 0.03)
    assert 0.3e9 < np.ptp(stamps[moving]) < 0.9e9
    assert process.end() == 0
