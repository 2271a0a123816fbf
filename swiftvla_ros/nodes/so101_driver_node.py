# SPDX-License-Identifier: Apache-2.0
"""Drives an SO-101 over its serial bus: commands in, joint states out, and a hold with a sentence where it can't."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swiftvla_ros.msg import SpeedLimit
from swiftvla_ros.nodes.commands.inputs import Change, CommandInputs
from swiftvla_ros.nodes.parts.servo_driver import CommandedPose, ServoDriver, describe_port
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.diagnostics import PERIOD_S, Health, publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import header

_SOURCE = "so101_driver"


@dataclass(frozen=True)
class So101DriverParts:
    """The arm, what commands it, and what stops the executor."""

    driver: ServoDriver
    pose: CommandedPose
    limits: Any


class So101DriverNode(ManagedNode[So101DriverParts]):
    """Publishes the contract's joint states and takes its commands, as ros2_control with its controllers would.

    Torque comes on at activate, with each servo's goal where it is, and goes off at cleanup. The bus has a thread of
    its own; see :class:`~swiftvla_ros.nodes.parts.servo_driver.ServoDriver`. While the arm is held the executor stands
    on its path: a speed limit of 0 %, with the reason.
    """

    def __init__(self) -> None:
        super().__init__("so101_driver")
        describe_port(self)
        self.describe("limp", False, "never switch the torque on: joint states only, to move the arm by hand")

    def setup(self) -> So101DriverParts:
        """Connect to the arm, check it, and open the topics; nothing moves."""
        pose = CommandedPose(self.contract, CommandInputs(self, self._take).joints)
        driver = ServoDriver(self, "follower", self.contract.joint_states.topic, pose, self._changed)
        publish_diagnostics(self, self._health)
        self.button("~/resume", driver.resume)
        return So101DriverParts(driver, pose, self.publisher(SpeedLimit, "speed_limit", qos.SPEED_LIMIT))

    def start(self) -> None:
        """Hold the arm where it is, and follow."""
        if self.value("limp"):
            self.get_logger().info("limp: the torque stays off, commands are ignored")
        else:
            self.parts.driver.arm.hold()
        self.parts.driver.start()

    def stop(self) -> None:
        """Stop following; the servos hold."""
        if self._parts is not None:
            self._parts.driver.stop()

    def teardown(self, parts: So101DriverParts) -> None:
        """Let the arm go limp."""
        parts.driver.close()

    def _take(self, part: int, change: Change) -> None:
        self.parts.pose.take(part, change, self.now_ns())

    def _changed(self, text: str) -> None:
        if not text:
            self.get_logger().info("all is well: commands are followed, from where the arm is")
        elif self.parts.driver.arm.drives:
            name = self.get_fully_qualified_name()
            self.get_logger().error(
                f"{text}. The arm is held; when it is mended: ros2 service call {name}/resume std_srvs/srv/Trigger"
            )
        else:
            self.get_logger().error(text)
        self._limit(text)

    def _limit(self, text: str) -> None:
        limit = SpeedLimit(header=header(self.now_ns()), source=_SOURCE, percent=0.0 if text else 100.0, reason=text)
        limit.valid_for = 3 * PERIOD_S
        self.parts.limits.publish(limit)

    def _health(self) -> Health:
        health = self.parts.driver.health()
        if text := self.parts.driver.arm.health.text:
            self._limit(text)
        return health


main = script_of(So101DriverNode)

if __name__ == "__main__":
    main()
