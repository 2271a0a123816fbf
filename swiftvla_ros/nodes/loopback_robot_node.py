# SPDX-License-Identifier: Apache-2.0
"""A robot driver without a robot: commands become joint states, with faults to order; grey pictures for cameras."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState

from swiftvla_ros.nodes.commands.inputs import Change, CommandInputs
from swiftvla_ros.nodes.parts.grey_cameras import GreyCameras
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import driver_state
from swiftvla_ros.nodes.ros.parameters import Allowed
from swiftvla_ros.sim.robots.loopback import Faults, LoopbackArm

_FAULTS = {
    "delay_s": "time from a command to the state that shows it, s",
    "noise_rad": "standard deviation of measured positions, rad",
    "dropout": "share of commands, and of states, that are lost",
    "deaf": "ignore all commands",
}


@dataclass(frozen=True)
class LoopbackParts:
    """The arm, and where its states go."""

    arm: LoopbackArm
    joints: Any


class LoopbackRobotNode(ManagedNode[LoopbackParts]):
    """Publishes what the contract's driver would; everything runs in the executor's thread.

    The faults can be changed while it runs: ``ros2 param set /loopback_robot deaf true``.
    """

    def __init__(self) -> None:
        super().__init__("loopback_robot")
        self.describe("seed", 0, "seed of noise and losses", Allowed(least=0))
        self.describe("cameras", True, "publish moving grey pictures for the contract's cameras")
        for fault in fields(Faults):
            self.describe_live(fault.name, fault.default, _FAULTS[fault.name])
        self.add_on_set_parameters_callback(self._set)

    def setup(self) -> LoopbackParts:
        """Open the topics of commands, joints and cameras."""
        inputs = CommandInputs(self, self._take)
        arm = LoopbackArm(self.contract, inputs.joints, int(self.value("seed")))
        arm.faults = Faults(**{fault.name: self.value(fault.name) for fault in fields(Faults)})
        self.timer(1.0 / self.contract.joint_states.rate_hz, self._measure)
        if self.value("cameras"):
            GreyCameras(self)
        self.button("~/reset", self._reset)
        return LoopbackParts(arm, self.publisher(JointState, self.contract.joint_states.topic, qos.STATE))

    def _take(self, part: int, change: Change) -> None:
        self.parts.arm.command(part, change, self.now_ns())

    def _measure(self) -> None:
        if not self.active:
            return
        arm, now_ns = self.parts.arm, self.now_ns()
        if self.clock_jumped_back(now_ns):
            arm.reset(now_ns)
        state = arm.state(now_ns)
        if state is not None:
            self.parts.joints.publish(driver_state(self.contract, now_ns, *state))

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        changes = {p.name: p.value for p in parameters if p.name in _FAULTS}
        if not changes or not all(self.has_parameter(name) for name in _FAULTS):
            return SetParametersResult(successful=True)
        try:
            faults = Faults(**{**{name: self.value(name) for name in _FAULTS}, **changes})
        except (ValueError, TypeError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self._parts is not None:
            self._parts.arm.faults = faults
        return SetParametersResult(successful=True)

    def _reset(self) -> tuple[bool, str]:
        self.parts.arm.reset(self.now_ns())
        return True, "the arm is in the rest pose"


main = script_of(LoopbackRobotNode)

if __name__ == "__main__":
    main()
