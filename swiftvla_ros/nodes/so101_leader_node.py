# SPDX-License-Identifier: Apache-2.0
"""Reads an SO-101 leader arm, which a person moves by hand: its torque is off, its joints are published."""

from __future__ import annotations

from dataclasses import dataclass

from swiftvla_ros.nodes.parts.servo_driver import CommandedPose, ServoDriver, describe_port
from swiftvla_ros.nodes.ros.diagnostics import publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of


@dataclass(frozen=True)
class So101LeaderParts:
    """The arm."""

    driver: ServoDriver


class So101LeaderNode(ManagedNode[So101LeaderParts]):
    """Publishes the contract's leader topic: the contract's joint names and units, from a thread of the bus's own.

    What is wrong with the arm is logged and told on /diagnostics; a joint that does not answer is left out.
    """

    def __init__(self) -> None:
        super().__init__("so101_leader")
        describe_port(self)

    def setup(self) -> So101LeaderParts:
        """Connect to the arm and let it go limp."""
        # Nothing is commanded: the torque is never on.
        pose = CommandedPose(self.contract, ())
        driver = ServoDriver(self, "leader", self.contract.leader.topic, pose, self._changed)
        driver.arm.let_go()
        publish_diagnostics(self, driver.health)
        return So101LeaderParts(driver)

    def start(self) -> None:
        """Begin to read."""
        self.parts.driver.start()

    def stop(self) -> None:
        """Stop reading."""
        if self._parts is not None:
            self._parts.driver.stop()

    def teardown(self, parts: So101LeaderParts) -> None:
        """Give the port back."""
        parts.driver.close()

    def _changed(self, text: str) -> None:
        if text:
            self.get_logger().error(text)
        else:
            self.get_logger().info("all servos answer again")


main = script_of(So101LeaderNode)

if __name__ == "__main__":
    main()
