# SPDX-License-Identifier: Apache-2.0
"""An emulated SO-101, follower or leader: calibrated as a real one was, moved by hand, with faults to order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.sections.drivers import SO101_JOINTS
from swiftvla_ros.drivers.feetech.angles import ServoAngles
from swiftvla_ros.drivers.feetech.calibration import ArmRole, JointCalibration, write_calibration
from swiftvla_ros.drivers.feetech.emulated_servo import EmulatedServo
from swiftvla_ros.drivers.feetech.emulator import EmulatedBus
from swiftvla_ros.drivers.feetech.registers import HOMING_OFFSET, MAX_POSITION, MIN_POSITION

Array = NDArray[np.float64]
# Above the driver's limit, below the one at which a servo lets go by itself.
_HOT_C = 68
_NORMAL_C = 32
_SUPPLY_V, _LOW_V = 7.4, 4.8
# Offsets, and ranges in ticks, of the size that real arms have; a gripper's 1200 ticks are 1.84 rad.
_CALIBRATION: dict[ArmRole, dict[str, tuple[int, int, int]]] = {
    "follower": {
        "shoulder_pan": (-1365, 746, 3477),
        "shoulder_lift": (1120, 823, 3210),
        "elbow_flex": (-905, 871, 3085),
        "wrist_flex": (640, 885, 3170),
        "wrist_roll": (-75, 0, 4095),
        "gripper": (1401, 2031, 3231),
    },
    "leader": {
        "shoulder_pan": (-210, 755, 3405),
        "shoulder_lift": (1533, 851, 3198),
        "elbow_flex": (-1017, 880, 3102),
        "wrist_flex": (88, 902, 3141),
        "wrist_roll": (312, 0, 4095),
        "gripper": (-640, 1980, 2760),
    },
}
ALL = "all"
"""In place of a joint's name: every servo."""


@dataclass(frozen=True)
class BusFaults:
    """What is wrong with an emulated arm: joints by name with commas between, ``all``, or empty for none."""

    silent: str = ""
    hot: str = ""
    overloaded: str = ""
    renumbered: str = ""  # answers to another number
    noise: float = 0.0  # share of answers with a wrong checksum, 0 to 1
    low_voltage: bool = False
    unplugged: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.noise <= 1.0:
            raise ValueError(f"noise is {self.noise}; write a share, 0 to 1")
        for names in (self.silent, self.hot, self.overloaded, self.renumbered):
            joints_of(names)


def joints_of(names: str) -> tuple[str, ...]:
    """Return the joints that a text names; ValueError for one that is none."""
    if names == ALL:
        return SO101_JOINTS
    found = tuple(filter(None, (name.strip() for name in names.split(","))))
    for name in found:
        if name not in SO101_JOINTS:
            raise ValueError(f"'{name}' is no joint; write some of {', '.join(SO101_JOINTS)} with commas, or {ALL}")
    return found


class EmulatedArm:
    """Six servos on a bus at ``folder/ROLE``, and LeRobot's file of their calibration at ``folder/ROLE.json``.

    It begins limp, at ``position`` [rad, by joint], 0 for those left out. A leader's handle goes from ``gripper_range``
    closed to open.
    """

    def __init__(
        self,
        folder: Path,
        role: ArmRole,
        position: Mapping[str, float],
        gripper_range: tuple[float, float],
        *,
        wire: bool = False,
    ) -> None:
        self.calibration = {
            joint: JointCalibration(n, 0, offset, low, high)
            for n, (joint, (offset, low, high)) in enumerate(_CALIBRATION[role].items(), start=1)
        }
        self.angles = ServoAngles(SO101_JOINTS, self.calibration, role, gripper_range)
        servos = {}
        ticks = self._ticks(position)
        for joint, each in self.calibration.items():
            servo = EmulatedServo(each.id, ticks[joint] + each.homing_offset)
            servo.set(HOMING_OFFSET, each.homing_offset)
            servo.set(MIN_POSITION, each.range_min)
            servo.set(MAX_POSITION, each.range_max)
            servos[joint] = servo
        self.file = folder / f"{role}.json"
        write_calibration(self.file, self.calibration)
        self.bus = EmulatedBus(folder / role, servos, wire=wire)

    @property
    def servos(self) -> dict[str, EmulatedServo]:
        """Its servos by joint."""
        return self.bus.servos

    def position(self) -> Array:
        """Where its shafts are, rad, in the order of ``SO101_JOINTS``."""
        ticks = [self.servos[joint].actual - self.calibration[joint].homing_offset for joint in SO101_JOINTS]
        return self.angles.radians(np.array(ticks))

    def push(self, position: Mapping[str, float]) -> None:
        """Move joints by hand, to rad; those that hold do not give way."""
        self.bus.push({joint: ticks for joint, ticks in self._ticks(position).items() if joint in position})

    def order(self, faults: BusFaults) -> None:
        """Have these faults and no others."""
        silent, hot = joints_of(faults.silent), joints_of(faults.hot)
        overloaded, renumbered = joints_of(faults.overloaded), joints_of(faults.renumbered)
        self.bus.noise = faults.noise
        for joint, servo in self.servos.items():
            servo.faults.silent = joint in silent
            servo.faults.temperature_c = _HOT_C if joint in hot else _NORMAL_C
            servo.faults.overloaded = joint in overloaded
            servo.faults.renumbered = self.calibration[joint].id + 8 if joint in renumbered else None
            servo.supply_v = _LOW_V if faults.low_voltage else _SUPPLY_V
        if faults.unplugged:
            self.bus.unplug()
        else:
            self.bus.plug()

    def reboot(self, joints: Collection[str]) -> None:
        """Have servos restart: their torque, goals and limits are lost."""
        for joint in joints:
            self.servos[joint].reboot()

    def close(self) -> None:
        """Take the port away."""
        self.bus.close()

    def _ticks(self, position: Mapping[str, float]) -> dict[str, float]:
        unknown = set(position) - set(SO101_JOINTS)
        if unknown:
            raise ValueError(f"{sorted(unknown)}: no joints of an SO-101; it has {list(SO101_JOINTS)}")
        radians = np.array([position.get(joint, 0.0) for joint in SO101_JOINTS])
        return dict(zip(SO101_JOINTS, self.angles.ticks(radians).astype(float).tolist(), strict=True))
