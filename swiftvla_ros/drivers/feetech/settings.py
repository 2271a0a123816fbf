# SPDX-License-Identifier: Apache-2.0
"""From a contract's keys to what an arm's driver needs."""

from __future__ import annotations

import numpy as np

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.sections.drivers import FollowerArm, ServoArm
from swiftvla_ros.drivers.feetech.angles import ServoAngles
from swiftvla_ros.drivers.feetech.arm import ArmSettings
from swiftvla_ros.drivers.feetech.calibration import ArmRole, calibration_path, read_calibration
from swiftvla_ros.drivers.feetech.faults import ServoLimits


def keys_of(contract: Contract, role: ArmRole) -> ServoArm:
    """The contract's keys of an arm; ValueError where it has none."""
    keys = contract.drivers.arm if role == "follower" else contract.drivers.leader
    if keys is None:
        key = "arm" if role == "follower" else "leader"
        raise ValueError(
            f"{contract.path}: drivers.{key}: missing; write {{kind: so101, port: /dev/serial/by-id/…, calibration: "
            "LeRobot's id of the arm}"
        )
    return keys


def arm_settings(contract: Contract, role: ArmRole, *, port: str = "", calibration: str = "") -> ArmSettings:
    """Read what the driver of a contract's arm needs, in contract order; ``port`` and ``calibration`` replace its keys.

    ValueError where the contract has no such arm, CalibrationError where it is not calibrated.
    """
    keys = keys_of(contract, role)
    servos = {joint: keys.ids[joint] for joint in contract.joint_names}
    file = calibration_path(calibration or keys.calibration, role, contract.path.parent)
    calibrated = read_calibration(file, contract.joint_names)
    limits = contract.limits
    gripper = contract.joint_names.index("gripper")
    closed, opened = float(limits.min_position[gripper]), float(limits.max_position[gripper])
    current = None
    if isinstance(keys, FollowerArm):
        current = np.where(contract.gripper_mask, keys.gripper_max_current_a, keys.max_current_a)
    # A leader's servos hold nothing, so little can become of them; what they say is told all the same.
    allowed = keys if isinstance(keys, FollowerArm) else FollowerArm(**keys.model_dump())
    return ArmSettings(
        path=port or keys.port,
        servos=servos,
        calibration=calibrated,
        angles=ServoAngles(contract.joint_names, calibrated, role, (closed, opened)),
        limits=ServoLimits(allowed.max_temperature_c, allowed.min_voltage_v),
        speed=limits.max_velocity,
        current_a=current,
        gripper=contract.gripper_mask,
    )
