# SPDX-License-Identifier: Apache-2.0
"""What the drivers of a follower and of a leader share: the bus in a thread, joint states, sentences, diagnostics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.sections.drivers import CALIBRATION_TOPICS
from swiftvla_ros.drivers.feetech.arm import ArmReading, DrivenArm, GoalSource
from swiftvla_ros.drivers.feetech.bus import BusError
from swiftvla_ros.drivers.feetech.calibration import ArmRole, CalibrationError, calibration_text
from swiftvla_ros.drivers.feetech.loop import ArmLoop
from swiftvla_ros.drivers.feetech.settings import arm_settings
from swiftvla_ros.extras import need
from swiftvla_ros.nodes.commands.inputs import Change
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.diagnostics import Health, Level
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.messages import header
from swiftvla_ros.nodes.ros.parameters import Allowed
from swiftvla_ros.sim.robots.setpoints import RobotSetpoints

Array = NDArray[np.float64]
_LEAST_RATE_HZ = 50.0
_LOOK_S = 0.05
_WAIT_S = 0.1
# More damaged answers than this are worth a look at cables; some are normal.
_DAMAGED_SHARE = 0.01


class CommandedPose:
    """The set-points that commands leave, written by the node's thread and read by the bus's."""

    def __init__(self, contract: Contract, parts: tuple[NDArray[np.intp], ...]) -> None:
        self._setpoints = RobotSetpoints(contract.rest, parts)
        self._lock = threading.Lock()

    def take(self, part: int, change: Change, now_ns: int) -> None:
        """Let a command change the set-points of its part."""
        with self._lock:
            change(self._setpoints.parts[part], now_ns)

    def goal(self, now_ns: int) -> Array:
        """The position [J] that is commanded now."""
        with self._lock:
            return self._setpoints.state(now_ns)[0]

    def hold(self, now_ns: int, position: Array) -> None:
        """Begin again from ``position`` [J]."""
        with self._lock:
            self._setpoints.forward(now_ns, position)


def describe_port(node: ManagedNode[Any]) -> None:
    """Declare the parameters that say where the arm is."""
    node.describe("port", "", "the arm's serial port; empty: the contract's")
    node.describe("calibration", "", "LeRobot's id of the arm, or a path; empty: the contract's")
    node.describe("wait_s", 0.0, "how long port and calibration may take to appear, s", Allowed(least=0, most=600))


class ServoDriver:
    """An arm of servos behind a node: made at configure, which connects it and moves nothing.

    The bus's thread publishes joint states, with those joints that can be believed, stamped with the time of the read;
    everything else runs in the node's thread. ``changed`` is called there with why the arm is held (empty: all well).
    """

    def __init__(
        self, node: ManagedNode[Any], role: ArmRole, topic: str, goals: GoalSource, changed: Callable[[str], None]
    ) -> None:
        need("serial")
        self._node, self._goals, self._changed = node, goals, changed
        self.arm, written = self._connect(role, float(node.value("wait_s")))
        if written:
            node.get_logger().info(f"set in the servos' EEPROM: {'; '.join(written)}")
        self._publisher = node.publisher(JointState, topic, qos.STATE)
        # Whoever records demonstrations keeps it: without it angles that turn out wrong can't be mended.
        calibrations = node.publisher(String, CALIBRATION_TOPICS[role], qos.LATCHED)
        calibrations.publish(String(data=calibration_text(self.arm.settings.calibration)))
        self._loop: ArmLoop | None = None
        self._failure: Exception | None = None
        self._text = ""
        # What the bus's thread has told and the node's has not: a port that is gone is soon one that is not there.
        self._untold: SimpleQueue[str] = SimpleQueue()
        node.steady_timer(_LOOK_S, self._look)

    def start(self) -> None:
        """Begin to read, and to follow where the torque is on."""
        rate_hz = max(_LEAST_RATE_HZ, self._node.contract.joint_states.rate_hz)
        self._loop = ArmLoop(self.arm, self._goals, self, rate_hz)
        self._loop.start()

    def stop(self) -> None:
        """Stop reading; servos that hold go on holding. May be called twice."""
        if self._loop is not None:
            self._loop.end()
            self._loop = None

    def close(self) -> None:
        """Switch the torque off where it was on, and give the port back."""
        self.stop()
        held = self.arm.drives
        try:
            self.arm.let_go()
            if held and self.arm.bus is None:
                raise BusError(f"{self.arm.settings.path}: the port is gone")
            if held:
                self._node.get_logger().info("torque is off: the arm is limp")
        except BusError as error:
            self._node.get_logger().error(f"the torque may still be on: {error}; switch the arm's power off")
        self.arm.close()

    def resume(self) -> tuple[bool, str]:
        """Follow commands again after a fault, from where the arm is."""
        if self._loop is None:
            return False, "the driver is not active"
        problem = self._loop.resume()
        return not problem, problem or "commands are followed again, from where the arm is"

    def measured(self, reading: ArmReading) -> None:
        """Publish a reading, from the bus's thread."""
        contract, known = self._node.contract, np.flatnonzero(reading.believed)
        if len(known):
            self._publisher.publish(
                JointState(
                    header=header(reading.stamp_ns, contract.base_frame),
                    name=[contract.joint_names[j] for j in known],
                    position=contract.from_si(reading.position[known], known).tolist(),
                    velocity=contract.velocity_from_si(reading.velocity[known], known).tolist(),
                )
            )

    def told(self, text: str) -> None:
        """Take why the arm is held, from the bus's thread."""
        self._text = text
        self._untold.put(text)

    def failed(self, error: Exception) -> None:
        """Take why the bus's thread ended."""
        self._failure = error

    def health(self) -> Health:
        """What is said on /diagnostics."""
        values: dict[str, Any] = {"port": self.arm.settings.path, "torque": "on" if self.arm.drives else "off"}
        loop, bus = self._loop, self.arm.bus
        text, level = self._text, Level.ERROR
        if loop is not None:
            values["loop_hz"] = f"{loop.rate_hz:.1f}"
            if loop.reading is not None:
                for joint, servo in loop.reading.servos.items():
                    values[f"{joint}.temperature_c"] = servo.temperature_c
                    values[f"{joint}.voltage_v"] = f"{servo.voltage_v:.1f}"
                    values[f"{joint}.load_percent"] = f"{servo.load_percent:.1f}"
                    values[f"{joint}.current_a"] = f"{servo.current_a:.2f}"
        if bus is not None:
            values["reads"], values["retries"] = bus.counts.reads, bus.counts.retries
            values["damaged_answers"] = bus.counts.damaged
            if not text and bus.counts.damaged > _DAMAGED_SHARE * max(100, bus.counts.answers):
                text, level = f"{bus.counts.damaged} of {bus.counts.answers} answers were damaged", Level.WARN
        return Health(level if text else Level.OK, text or "all servos answer", values)

    def _connect(self, role: ArmRole, wait_s: float) -> tuple[DrivenArm, list[str]]:
        """Connect to the arm, whose port and calibration may take a while to appear."""
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            with suppress(BusError, CalibrationError):
                return self._connected(role)
            time.sleep(_WAIT_S)
        return self._connected(role)

    def _connected(self, role: ArmRole) -> tuple[DrivenArm, list[str]]:
        node = self._node
        port, calibration = str(node.value("port")), str(node.value("calibration"))
        arm = DrivenArm(arm_settings(node.contract, role, port=port, calibration=calibration), node.now_ns)
        return arm, arm.connect()

    def _look(self) -> None:
        if self._failure is not None:
            raise RuntimeError("the bus's thread ended") from self._failure
        while not self._untold.empty():
            self._changed(self._untold.get())
