# SPDX-License-Identifier: Apache-2.0
"""Ticks of an SO-101's servos ↔ radians of its URDF, and so of the contract.

* shoulder_pan, shoulder_lift, elbow_flex, wrist_flex: zero is the middle of the calibrated range, as LeRobot's degrees
  have it and as the URDF ("new_calib") is drawn.
* wrist_roll: its range is not symmetric; zero is the pose in which the homing offset was set, tick 2047.
* gripper: anchored at the closed end, -0.1745 rad at ``range_min``. A leader's handle has another range than a jaw:
  from end to end it goes from closed to open.

A joint with ``drive_mode`` 1 counts backwards (LeRobot itself writes 0 always).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.drivers.feetech.calibration import ArmRole, JointCalibration

Array = NDArray[np.float64]

# LeRobot's degrees count 4095 steps to the turn, not 4096.
RAD_PER_TICK = 2 * math.pi / 4095
HOMING_TICK = 2047
"""Where LeRobot's homing puts the pose in which it is done: int(4095 / 2)."""
GRIPPER_CLOSED_RAD = -0.1745


class ServoAngles:
    """The line of each joint between ticks and radians, for joints in the order of ``joints``.

    ``gripper_range`` [closed, open] in rad is what a leader's handle goes through.
    """

    def __init__(
        self,
        joints: Sequence[str],
        calibration: Mapping[str, JointCalibration],
        role: ArmRole,
        gripper_range: tuple[float, float],
    ) -> None:
        scale, zero_tick, zero_rad = [], [], []
        for joint in joints:
            each = calibration[joint]
            sign = -1.0 if each.drive_mode else 1.0
            per_tick, tick, rad = RAD_PER_TICK, 0.5 * (each.range_min + each.range_max), 0.0
            if joint == "wrist_roll":
                tick = float(HOMING_TICK)
            elif joint == "gripper":
                tick, rad = float(each.range_max if each.drive_mode else each.range_min), GRIPPER_CLOSED_RAD
                if role == "leader":
                    rad = gripper_range[0]
                    per_tick = (gripper_range[1] - rad) / (each.range_max - each.range_min)
            scale.append(sign * per_tick)
            zero_tick.append(tick)
            zero_rad.append(rad)
        self._scale, self._tick, self._rad = np.array(scale), np.array(zero_tick), np.array(zero_rad)
        self._lowest = np.array([calibration[joint].range_min for joint in joints])
        self._highest = np.array([calibration[joint].range_max for joint in joints])

    def radians(self, ticks: Array) -> Array:
        """Ticks [J] → rad."""
        return (ticks - self._tick) * self._scale + self._rad

    def velocity(self, ticks_per_s: Array) -> Array:
        """Ticks/s [J] → rad/s."""
        return ticks_per_s * self._scale

    def ticks(self, radians: Array) -> NDArray[np.int64]:
        """Rad [J] → the nearest ticks inside the calibrated range; no goal lies outside it."""
        exact = (radians - self._rad) / self._scale + self._tick
        return np.clip(np.rint(exact), self._lowest, self._highest).astype(np.int64)

    def speed_ticks(self, rad_per_s: Array) -> NDArray[np.int64]:
        """Speeds [J] in rad/s → whole ticks/s, at least 1."""
        return np.maximum(1, np.rint(np.abs(rad_per_s / self._scale))).astype(np.int64)


MEANINGS = {
    "shoulder_pan": "0: straight ahead; + turns the arm to its own right",
    "shoulder_lift": "0: the middle of its range; + leans the upper arm forward and down",
    "elbow_flex": "0: the middle of its range; + bends the forearm down",
    "wrist_flex": "0: the middle of its range; + bends the hand down",
    "wrist_roll": "0: as it was held for the homing; + rolls the hand counter-clockwise, seen from behind the arm",
    "gripper": "-0.17: closed; + opens",
}
"""What zero and sign of each joint mean, for a person who moves the arm by hand. The URDF's, stretched out ahead."""
