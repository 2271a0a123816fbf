# SPDX-License-Identifier: Apache-2.0
"""loopback_robot_node and trajectory_executor_node as processes, joined by an output; the test is the policy."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.msg import ActionChunk, ExecutorState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import header, to_duration
from swiftvla_ros.observation.image_decoding import rgb_of

BASE = load_contract("so101_sim")
ROWS = 10
STEP_NS = round(BASE.policy.step_s * 1e9)


class Loop:
    """Both nodes on topics of their own, joint states handed on to the executor, and a sweep of some joints."""

    sweeps: ClassVar = {"shoulder_pan": 0.5, "gripper": 0.3}

    def __init__(self, graph: Any, folder: Path, space: str, *replaced: tuple[str, str], base: Contract = BASE) -> None:
        self.graph, self.space = graph, space
        text = base.text.replace("topic: /joint_states", f"topic: /{space}/joint_states")
        for topic in base.command_topics:
            text = text.replace(topic, f"/{space}{topic}")
        for old, new in replaced:
            assert old in text, old
            text = text.replace(old, new)
        for urdf in base.path.parent.glob("*.urdf"):
            (folder / urdf.name).write_text(urdf.read_text())
        (folder / "robot.yaml").write_text(text)
        self.contract: Contract = load_contract(folder / "robot.yaml")
        self.forget()
        self._state = graph.node.create_publisher(JointState, f"/{space}/observation/state", qos.STATE)
        self._chunks = graph.node.create_publisher(ActionChunk, f"/{space}/action_chunk", qos.CHUNK)
        self.joints = graph.listen(JointState, self.contract.joint_states.topic, qos.STATE_INPUT)
        self._relayed = graph.node.create_subscription(
            JointState, self.contract.joint_states.topic, self._relay, qos.STATE_INPUT
        )
        self.states = graph.listen(ExecutorState, f"/{space}/executor_state", qos.EXECUTOR_STATE)
        robot = str(folder / "robot.yaml")
        self.robot = graph.start("loopback_robot_node", namespace=space, robot=robot, cameras=False)
        self.executor = graph.start("trajectory_executor_node", namespace=space, robot=robot)
        graph.wait_until(lambda: self.joints.messages and self.states.messages, "both nodes talk", 90)
        self._timer = graph.node.create_timer(0.1, self._predict)
        self._begin_ns = self._chunk_id = 0

    def forget(self) -> None:
        """Begin to watch the measured positions anew."""
        self.low, self.high = np.full((2, len(self.contract.joints)), np.inf) * [[1], [-1]]

    def swept(self, joint: str) -> float:
        """How far apart the measured positions of a joint have been, SI."""
        j = self.contract.joint_names.index(joint)
        return float(self.high[j] - self.low[j])

    def _relay(self, message: JointState) -> None:
        position = self.contract.to_si(np.array(message.position))
        self.low, self.high = np.minimum(self.low, position), np.maximum(self.high, position)
        message.position = position.tolist()
        self._state.publish(message)

    def _predict(self) -> None:
        ns = int(self.graph.node.get_clock().now().nanoseconds) - 30_000_000
        self._begin_ns = self._begin_ns or ns
        self._chunk_id += 1
        rows = np.tile(self.contract.rest, (ROWS, 1))
        wave = np.sin(1.5 * (ns - self._begin_ns + STEP_NS * np.arange(ROWS)) / 1e9)
        for joint, amplitude in self.sweeps.items():
            rows[:, self.contract.joint_names.index(joint)] += amplitude * wave
        chunk = ActionChunk(header=header(ns), step=to_duration(STEP_NS), rows=ROWS, chunk_id=self._chunk_id)
        chunk.joint_names, chunk.positions = list(self.contract.joint_names), rows.ravel().tolist()
        self._chunks.publish(chunk)

    def __enter__(self) -> "Loop":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End both; after a failure, without asking: another try must not find them still at work."""
        self.graph.node.destroy_timer(self._timer)
        self.graph.node.destroy_subscription(self._relayed)
        for process in (self.executor, self.robot):
            if kind is not None:
                process.process.kill()
                process.wait()
            else:
                assert process.end() == 0, process.output()


OUTPUTS: dict[str, list[tuple[str, str]]] = {
    "forward_position": [],
    "forward_velocity": [("closed: -0.1}", "closed: -0.1, topic: /forward_velocity/hand}")],
    "joint_trajectory": [("name: shoulder_pan, unit: rad", "name: shoulder_pan, unit: deg")],
    "follow_joint_trajectory": [],
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_commands_of_every_output_move_the_arm(graph: Any, tmp_path: Path, output: str) -> None:
    """What the executor commands is what the arm does, through every output, a gripper's own topic, and degrees."""
    if output == "follow_joint_trajectory":
        pytest.importorskip("control_msgs", reason="control_msgs is not installed: PyPI has no wheel of it")
    with Loop(graph, tmp_path, output, ("output: forward_position", f"output: {output}"), *OUTPUTS[output]) as loop:
        graph.wait_until(
            lambda: loop.swept("shoulder_pan") > 0.7 and loop.swept("gripper") > 0.3,
            "the arm and its gripper sweep",
            30,
        )
        moving = [s for s in loop.states.messages if s.mode == ExecutorState.FRESH]
        assert len(moving) > 100
        errors = np.array([s.tracking_error for s in moving])
        # The state is up to 20 ms old, a goal's motion 80 ms later still, and the sweep runs at 0.75 rad/s.
        assert np.nanmax(np.abs(errors)) < (0.15 if output == "follow_joint_trajectory" else 0.08)


class TwoArms(Loop):
    """The arms sweep against each other, the left one wider; so do their grippers."""

    sweeps: ClassVar = {
        "left_shoulder_pan": 0.5,
        "left_gripper": 0.4,
        "right_shoulder_pan": -0.3,
        "right_gripper": -0.2,
    }


def test_two_arms_are_driven_each_on_its_own_topic(graph: Any, tmp_path: Path) -> None:
    """Protects robots of several arms: each arm and gripper does what its part of the chunk says, over its topic."""
    with TwoArms(graph, tmp_path, "two_arms", base=load_contract("so101_two_arms")) as loop:
        sent = [graph.listen(JointTrajectory, topic, qos.COMMAND) for topic in loop.contract.command_topics]

        def both_sweep() -> bool:
            return all(loop.swept(joint) > 1.4 * abs(amplitude) for joint, amplitude in loop.sweeps.items())

        graph.wait_until(both_sweep, "both arms and grippers sweep", 30)
        for inbox, side in zip(sent, ("left", "right"), strict=True):
            assert [name.removeprefix(f"{side}_") for name in inbox.last.joint_names] == list(BASE.joint_names)
        for joint, amplitude in loop.sweeps.items():
            assert loop.swept(joint) < 2.2 * abs(amplitude)
        assert max(loop.swept(joint) for joint in loop.contract.joint_names if joint not in loop.sweeps) < 0.02


def test_faults_are_ordered_while_it_runs(graph: Any, tmp_path: Path) -> None:
    """A deaf driver stays where it is though it is commanded; a nonsensical fault is refused by name."""
    with Loop(graph, tmp_path, "faults") as loop:

        def order(name: str, value: Any) -> Any:
            request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
            return graph.call(SetParameters, "/faults/loopback_robot/set_parameters", request).results[0]

        graph.wait_until(lambda: loop.swept("shoulder_pan") > 0.2, "the arm moves", 30)
        assert order("deaf", True).successful
        loop.forget()
        loop.states.clear()
        graph.wait_until(
            # Then the frozen joint is noticed, and its command stands, too.
            lambda: loop.states.messages and abs(loop.states.last.tracking_error[0]) > 0.1,
            "it is left behind",
        )
        assert loop.swept("shoulder_pan") < 0.05
        refused = order("dropout", 2.0)
        assert not refused.successful
        assert "dropout" in refused.reason


def test_cameras_show_something_new_each_time(graph: Any) -> None:
    """Pictures of the contract's size on its topics, no two alike: the graph runs as with a real arm."""
    camera = BASE.camera("front")
    images = graph.listen(Image, camera.topic, qos.CAMERA_INPUT)
    process = graph.start("loopback_robot_node", "loopback_cameras", robot="so101_sim")
    graph.wait_until(lambda: len(images.messages) > 3, "images come", 90)
    first, second = rgb_of(images.messages[0]), rgb_of(images.messages[1])
    assert first.shape == (camera.source_size[1], camera.source_size[0], 3)
    assert (first != second).any()
    assert process.end() == 0, process.output()
