# SPDX-License-Identifier: Apache-2.0
"""The SO-101's drivers and the executor as processes, on the emulated bus; the test is the policy and the hand."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from servo_arm import SO101
from std_msgs.msg import String

from swiftvla_ros.msg import ActionChunk, ExecutorState, SpeedLimit
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import header, to_duration
from swiftvla_ros.observation.leader_state import leader_positions

pytest.importorskip("serial", reason="pyserial is not installed: pip install '.[so101]'")

ROWS = 10
STEP_NS = round(SO101.policy.step_s * 1e9)


class Station:
    """Both arms, the executor, and a policy that sweeps two joints."""

    def __init__(self, graph: Any, folder: Path) -> None:
        self.graph = graph
        self.joints = graph.listen(JointState, SO101.joint_states.topic, qos.STATE_INPUT)
        self.leader = graph.listen(JointState, "/leader/joint_states", qos.STATE_INPUT)
        self.states = graph.listen(ExecutorState, "/executor_state", qos.EXECUTOR_STATE)
        self.limits = graph.listen(SpeedLimit, "/speed_limit", qos.SPEED_LIMIT)
        self.calibrations = {
            arm: graph.listen(String, f"/calibration/{arm}", qos.LATCHED) for arm in ("follower", "leader")
        }
        self._chunks = graph.node.create_publisher(ActionChunk, "/action_chunk", qos.CHUNK)
        self._hand = graph.node.create_publisher(JointState, "/emulated_bus/hand", qos.COMMAND)
        bus = folder / "bus"
        self.bus = graph.start("emulated_bus_node", robot="so101", folder=str(bus), cameras=False)
        arms = {"so101_driver": "follower", "so101_leader": "leader"}
        self.driver, self.leader_node = (
            graph.start(
                f"{name}_node", robot="so101", port=str(bus / arm), calibration=str(bus / f"{arm}.json"), wait_s=60.0
            )
            for name, arm in arms.items()
        )
        self.others = [graph.start(name, robot="so101") for name in ("joint_state_node", "trajectory_executor_node")]
        graph.wait_until(lambda: self.joints.messages and self.leader.messages and self.states.messages, "all talk", 90)
        self._timer = graph.node.create_timer(0.1, self._predict)
        self._begin_ns = self._chunk_id = 0

    def _predict(self) -> None:
        ns = int(self.graph.node.get_clock().now().nanoseconds) - 30_000_000
        self._begin_ns, self._chunk_id = self._begin_ns or ns, self._chunk_id + 1
        rows = np.tile(SO101.rest, (ROWS, 1))
        wave = np.sin(1.5 * (ns - self._begin_ns + STEP_NS * np.arange(ROWS)) / 1e9)
        rows[:, 0] += 0.4 * wave
        rows[:, 5] += 0.2 * wave
        chunk = ActionChunk(header=header(ns), step=to_duration(STEP_NS), rows=ROWS, chunk_id=self._chunk_id)
        chunk.joint_names, chunk.positions = list(SO101.joint_names), rows.ravel().tolist()
        self._chunks.publish(chunk)

    def order(self, fault: str, value: Any) -> None:
        """Order a fault of the follower."""
        request = SetParameters.Request(parameters=[Parameter(f"follower.{fault}", value=value).to_parameter_msg()])
        result = self.graph.call(SetParameters, "/emulated_bus/set_parameters", request).results[0]
        assert result.successful, result.reason

    def push(self, **joints: float) -> None:
        """Move the leader by hand."""
        self._hand.publish(JointState(name=list(joints), position=list(joints.values())))

    def sweeps(self, timeout_s: float = 20.0) -> None:
        """Wait until the arm follows the policy."""
        self.joints.clear()

        def swept() -> bool:
            pan = [m.position[0] for m in self.joints.messages if len(m.name) == len(SO101.joints)]
            return len(pan) > 20 and max(pan) - min(pan) > 0.3

        self.graph.wait_until(swept, "the arm sweeps", timeout_s)

    def stands(self) -> bool:
        """Whether the executor has brought the arm to rest."""
        last = self.states.last
        return last.mode in (ExecutorState.HOLD, ExecutorState.RELEASED) or last.reason == ExecutorState.REASON_PAUSED

    def resume(self) -> None:
        """Press the button until there is nothing in its way."""
        self.graph.wait_until(lambda: self.graph.trigger("/so101_driver/resume").success, "it is resumed", 20)

    def says(self, text: str) -> None:
        """Wait for the driver's sentence in its log."""
        self.graph.wait_until(lambda: text in self.driver.output(), f"the log says: {text}", 10)


@pytest.fixture(scope="module")
def station(graph: Any, tmp_path_factory: pytest.TempPathFactory) -> Station:
    """Start all of them once; of a start that failed nothing stays, or there would be two of each."""
    before = len(graph.processes)
    try:
        return Station(graph, tmp_path_factory.mktemp("station"))
    except pytest.fail.Exception:
        for entry in graph.processes[before:]:
            entry.end(signal.SIGKILL)
        raise


def test_the_arm_follows_and_the_leader_is_read(station: Station) -> None:
    """Protects the way from a chunk over the bus to joint states, and from a hand to the leader's; noise included."""
    station.order("noise", 0.01)
    station.sweeps()
    errors = np.array([s.tracking_error for s in station.states.messages if s.mode == ExecutorState.FRESH][-100:])
    assert np.nanmax(np.abs(errors)) < 0.25
    station.order("noise", 0.0)
    station.push(shoulder_pan=0.5, gripper=1.0)
    station.leader.clear()

    def read() -> bool:
        if station.leader.last is None:
            return False
        position = leader_positions(station.leader.last, SO101)
        return abs(position[0] - 0.5) < 0.01 and abs(position[5] - 1.0) < 0.01

    station.graph.wait_until(read, "the leader is where the hand put it")
    for told in station.calibrations.values():
        assert set(json.loads(told.last.data)) == set(SO101.joint_names)


def test_a_silent_servo_stops_the_executor_and_comes_back(station: Station) -> None:
    """Protects from moving blind: no state of that joint, the executor stands, both go on by themselves."""
    station.order("silent", "elbow_flex")
    station.says("elbow_flex (servo 3) does not answer")
    station.graph.wait_until(station.stands, "the executor stands")
    assert "elbow_flex" not in station.joints.last.name
    assert "shoulder_pan" in station.joints.last.name
    station.order("silent", "")
    station.sweeps()


def test_a_hot_servo_stops_the_executor_with_the_reason(station: Station) -> None:
    """Protects the gearbox: what can be believed is still published, and the executor is told why it stands."""
    station.order("hot", "gripper")
    station.says("gripper is at 68 °C, limit 65")
    station.graph.wait_until(station.stands, "the executor stands")
    assert len(station.joints.last.name) == len(SO101.joints)
    assert any(m.percent == 0.0 and "gripper is at 68" in m.reason for m in station.limits.messages)
    assert not station.graph.trigger("/so101_driver/resume").success
    station.order("hot", "")
    station.resume()
    station.sweeps()


def test_a_pulled_cable_is_survived_without_a_jump(station: Station) -> None:
    """Protects the arm in mid-motion: named, the executor stands, the port is opened again, on from there."""
    station.order("unplugged", value=True)
    station.says("the port is gone")
    station.graph.wait_until(station.stands, "the executor stands")
    before = np.array(station.joints.last.position)
    station.joints.clear()
    station.order("unplugged", value=False)
    station.says("is back: the arm is held where it is")
    station.graph.wait_until(lambda: station.joints.messages, "joint states are back")
    assert np.abs(np.array(station.joints.messages[0].position) - before).max() < 0.15
    station.joints.clear()
    station.resume()
    station.sweeps()
    pan = np.array([m.position[0] for m in station.joints.messages])
    assert np.abs(np.diff(pan)).max() < 0.15, "no jump"


def test_it_ends_limp(station: Station) -> None:
    """Protects whoever ends the driver: torque is off, the node ends in order."""
    assert station.driver.end() == 0, station.driver.output()
    assert "torque is off" in station.driver.output()
    for process in (station.leader_node, *station.others, station.bus):
        assert process.end() == 0, process.output()
