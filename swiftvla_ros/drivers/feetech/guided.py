# SPDX-License-Identifier: Apache-2.0
"""A calibration that a person is led through: homing in the middle, then every joint from end to end.

The numbers are LeRobot's (lerobot.robots.so_follower.calibrate): the offset puts the middle pose at tick 2047,
wrist_roll has a whole turn, the other ranges are what was seen. Nothing is written into a
servo before the person has said yes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from swiftvla_ros.drivers.feetech.angles import HOMING_TICK
from swiftvla_ros.drivers.feetech.bus import ServoBus
from swiftvla_ros.drivers.feetech.calibration import CalibrationError, JointCalibration
from swiftvla_ros.drivers.feetech.registers import (
    HOMING_OFFSET,
    MAX_POSITION,
    MIN_POSITION,
    TICKS,
    TORQUE_ENABLE,
    ServoReading,
)

# A joint that was moved by less was not moved from end to end; a gripper goes through some 1200 ticks.
LEAST_RANGE = 400
_WHOLE_TURN = ("wrist_roll",)
_LARGEST_OFFSET = 2047
# With more retries than a loop has: here nobody waits for the next cycle.
_RETRIES = 5


class Person(Protocol):
    """Who is led."""

    def agrees(self, question: str) -> bool:
        """Ask yes or no."""

    def is_ready(self, task: str) -> None:
        """Say what to do, and wait until it is done."""

    def is_done(self, ranges: Mapping[str, Range]) -> bool:
        """Show what was seen so far; whether that is all."""

    def hears(self, text: str) -> None:
        """Tell something."""


@dataclass(frozen=True)
class Range:
    """Where a joint is, and the least and most that it was, ticks."""

    now: int
    lowest: int
    highest: int

    @property
    def wide(self) -> bool:
        """Whether it looks like all of a joint's range."""
        return self.highest - self.lowest >= LEAST_RANGE


def calibrate(bus: ServoBus, servos: Mapping[str, int], person: Person) -> dict[str, JointCalibration] | None:
    """Lead a person through the calibration of an arm, by joint; None where they don't want it.

    The torque is switched off first. The servos have the new numbers when it returns; with None at the last question
    they have the new offsets and a whole turn as range, and have to be calibrated again, or restored from a file.
    """
    bus.write_all(TORQUE_ENABLE, dict.fromkeys(servos.values(), 0))
    question = (
        "The torque is off. Homing offsets and ranges in the EEPROM of the "
        f"{len(servos)} servos will be replaced. Go on?"
    )
    if not person.agrees(question):
        return None
    person.is_ready("Hold every joint in the middle of its range, the gripper, too")
    for servo in servos.values():
        bus.write_eeprom(servo, {HOMING_OFFSET: 0, MIN_POSITION: 0, MAX_POSITION: TICKS - 1})
    offsets = {joint: _offset(reading.position) for joint, reading in read_all(bus, servos).items()}
    for joint, servo in servos.items():
        bus.write_eeprom(servo, {HOMING_OFFSET: offsets[joint]})
    person.hears(
        f"Now move every joint but {', '.join(_WHOLE_TURN)} from end to end, slowly, the gripper from closed to open"
    )
    ranges = _ranges(bus, servos, person)
    found = {
        joint: JointCalibration(servo, 0, offsets[joint], ranges[joint].lowest, ranges[joint].highest)
        for joint, servo in servos.items()
    }
    if not person.agrees("Write these ranges into the servos, and the file?"):
        return None
    write_into_servos(bus, found)
    return found


def write_into_servos(bus: ServoBus, calibration: Mapping[str, JointCalibration]) -> list[str]:
    """Write a calibration into the EEPROM where it differs, torque off first; return what was changed."""
    bus.write_all(TORQUE_ENABLE, {each.id: 0 for each in calibration.values()})
    changed = []
    for joint, each in calibration.items():
        values = {HOMING_OFFSET: each.homing_offset, MIN_POSITION: each.range_min, MAX_POSITION: each.range_max}
        changed += [f"{joint}: {register.name} {values[register]}" for register in bus.write_eeprom(each.id, values)]
    return changed


def read_all(bus: ServoBus, servos: Mapping[str, int]) -> dict[str, ServoReading]:
    """Read every servo once; CalibrationError where one does not answer."""
    found = bus.read_states(servos.values(), full=True, retries=_RETRIES)
    if missing := [joint for joint, servo in servos.items() if servo not in found]:
        raise CalibrationError(f"{', '.join(missing)} does not answer any more; check the cables and begin again")
    return {joint: found[servo] for joint, servo in servos.items()}


def _offset(actual: int) -> int:
    return max(-_LARGEST_OFFSET, min(_LARGEST_OFFSET, actual - HOMING_TICK))


def _ranges(bus: ServoBus, servos: Mapping[str, int], person: Person) -> dict[str, Range]:
    """Watch all joints until the person is done and each has been moved."""
    seen: dict[str, Range] = {}
    while True:
        for joint, reading in read_all(bus, servos).items():
            now, before = reading.position, seen.get(joint)
            lowest = now if before is None else min(before.lowest, now)
            seen[joint] = Range(now, lowest, now if before is None else max(before.highest, now))
            if joint in _WHOLE_TURN:
                seen[joint] = Range(now, 0, TICKS - 1)
        if person.is_done(seen):
            if still := [joint for joint, each in seen.items() if not each.wide]:
                person.hears(f"{', '.join(still)} was hardly moved: from end to end, please")
                continue
            if outside := [joint for joint, each in seen.items() if each.lowest < 0 or each.highest >= TICKS]:
                raise CalibrationError(
                    f"{', '.join(outside)} went through the end of its turn: it was not in the middle for the homing; "
                    "calibrate again"
                )
            return seen
