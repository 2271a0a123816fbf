# SPDX-License-Identifier: Apache-2.0
"""Two SO-101 without hardware, follower and leader: servos on pseudo-terminals, for the real drivers to connect to."""

from __future__ import annotations

import fcntl
from dataclasses import dataclass, fields
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState

from swiftvla_ros.drivers.feetech.calibration import ArmRole
from swiftvla_ros.drivers.feetech.emulated_arm import BusFaults, EmulatedArm, joints_of
from swiftvla_ros.nodes.parts.grey_cameras import GreyCameras
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of

ROLES: tuple[ArmRole, ...] = ("follower", "leader")
_FAULTS = {
    "silent": "joints whose servos do not answer, with commas; all",
    "hot": "joints whose servos are at 68 °C",
    "overloaded": "joints whose servos lose their force",
    "renumbered": "joints whose servos answer to another number",
    "noise": "share of answers with a wrong checksum",
    "low_voltage": "the supply gives 4.8 V",
    "unplugged": "the USB cable is pulled",
}


@dataclass(frozen=True)
class EmulatedBusParts:
    """The arms, by what they are for."""

    arms: dict[ArmRole, EmulatedArm]


class EmulatedBusNode(ManagedNode[EmulatedBusParts]):
    """Has servos at ``folder/follower`` and ``folder/leader``, with their calibrations beside them as ``.json``.

    Each bus has a thread of its own; the rest runs in the executor's. Faults are ordered while it runs:
    ``ros2 param set /emulated_bus follower.silent elbow_flex``. The leader is moved by hand over
    ``emulated_bus/hand``.
    """

    def __init__(self) -> None:
        super().__init__("emulated_bus")
        self.describe("folder", "", "where the ports are to be; made if need be")
        self.describe("cameras", True, "publish moving grey pictures for the contract's cameras without a film")
        self.describe("wire", False, "let each exchange take its time on a real bus")
        for role in ROLES:
            for fault in fields(BusFaults):
                self.describe_live(f"{role}.{fault.name}", fault.default, _FAULTS[fault.name])
            self.describe_live(f"{role}.restart", "", "joints whose servos restart now, with commas; all")
        self.add_on_set_parameters_callback(self._set)

    def setup(self) -> EmulatedBusParts:
        """Make both arms, limp at rest."""
        if not self.value("folder"):
            raise ValueError("parameter folder is empty; write where the ports are to be")
        folder = Path(str(self.value("folder")))
        folder.mkdir(parents=True, exist_ok=True)
        lock = self.own((folder / "lock").open("w", encoding="utf-8"), TextIOWrapper.close)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"{folder}: another emulated bus is at work there; end it, or choose another") from error
        contract = self.contract
        rest = dict(zip(contract.joint_names, contract.rest.tolist(), strict=True))
        gripper = contract.joint_names.index("gripper") if "gripper" in contract.joint_names else -1
        ends = float(contract.limits.min_position[gripper]), float(contract.limits.max_position[gripper])
        arms: dict[ArmRole, EmulatedArm] = {}
        for role in ROLES:
            arm = EmulatedArm(folder, role, rest, ends, wire=bool(self.value("wire")))
            arms[role] = self.own(arm, EmulatedArm.close)
            arm.order(self._faults(role, {}))
        self.subscribe(JointState, "emulated_bus/hand", self._push, qos.COMMAND)
        if self.value("cameras"):
            GreyCameras(self, [name for name, camera in contract.drivers.cameras.items() if camera.film])
        self.get_logger().info(f"ports: {', '.join(str(folder / role) for role in ROLES)}")
        return EmulatedBusParts(arms)

    def _push(self, message: JointState) -> None:
        try:
            self.parts.arms["leader"].push(dict(zip(message.name, message.position, strict=True)))
        except ValueError as error:
            self.get_logger().error(f"emulated_bus/hand: {error}", throttle_duration_sec=1.0)

    def _faults(self, role: str, changes: dict[str, Any]) -> BusFaults:
        names = {fault.name: f"{role}.{fault.name}" for fault in fields(BusFaults)}
        return BusFaults(**{key: changes.get(name, self.value(name)) for key, name in names.items()})

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        changes = {p.name: p.value for p in parameters if p.name.partition(".")[0] in ROLES}
        if not changes or self._parts is None:
            return SetParametersResult(successful=True)
        try:
            faults = {role: self._faults(role, changes) for role in ROLES}
            restarts = {role: joints_of(str(changes.get(f"{role}.restart", ""))) for role in ROLES}
        except (ValueError, TypeError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        for role, arm in self._parts.arms.items():
            arm.order(faults[role])
            arm.reboot(restarts[role])
        return SetParametersResult(successful=True)


main = script_of(EmulatedBusNode)

if __name__ == "__main__":
    main()
