# SPDX-License-Identifier: Apache-2.0
"""LeRobot's calibration of an arm: its file, where that lies, and whether the servos agree with it.

The format is LeRobot's (lerobot.motors.MotorCalibration as JSON), so one calibration serves both. A servo adds the
homing offset itself (present = actual − offset, kept in its EEPROM): positions that it reports have it already.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from swiftvla_ros.errors import UserError
from swiftvla_ros.files import whole_file

ArmRole = Literal["follower", "leader"]
# LeRobot 0.4.4 dropped the number from the folder's name; a file of either is found.
_FOLDERS: dict[ArmRole, tuple[str, ...]] = {
    "follower": ("robots/so_follower", "robots/so101_follower"),
    "leader": ("teleoperators/so_leader", "teleoperators/so101_leader"),
}


class CalibrationError(UserError, ValueError):
    """A calibration that can't be used; the message names the file, the joint and the fix."""


@dataclass(frozen=True)
class JointCalibration:
    """One servo's numbers, in ticks of 1/4096 turn, and its id on the bus."""

    id: int
    drive_mode: int
    homing_offset: int
    range_min: int
    range_max: int

    def __post_init__(self) -> None:
        for each in fields(self):
            if isinstance(value := getattr(self, each.name), bool) or not isinstance(value, int):
                raise CalibrationError(f"{each.name} is {value!r}, no whole number")
        if self.drive_mode not in (0, 1):
            raise CalibrationError(f"drive_mode is {self.drive_mode}; 0, or 1 for a joint that counts backwards")
        if not -2047 <= self.homing_offset <= 2047:
            raise CalibrationError(f"homing_offset is {self.homing_offset}; a servo keeps -2047 to 2047")
        if not 0 <= self.range_min < self.range_max <= 4095:
            raise CalibrationError(f"range_min {self.range_min} to range_max {self.range_max} is no range of 0 to 4095")


def calibration_path(name: str, role: ArmRole, beside: Path) -> Path:
    """Where the calibration called ``name`` is, or is to be.

    A name with ``.json`` is a path, relative to the folder ``beside``. Any other is LeRobot's id of the arm: the file
    lies below ``$HF_LEROBOT_CALIBRATION``, or ``~/.cache/huggingface/lerobot/calibration``.
    """
    if name.endswith(".json"):
        return beside / Path(name).expanduser()
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "lerobot"
    lerobot = Path(os.environ.get("HF_LEROBOT_HOME", home))
    root = Path(os.environ.get("HF_LEROBOT_CALIBRATION", lerobot / "calibration")).expanduser()
    places = [root / folder / f"{name}.json" for folder in _FOLDERS[role]]
    return next((place for place in places if place.is_file()), places[0])


def read_calibration(path: Path, joints: Iterable[str]) -> dict[str, JointCalibration]:
    """Read the calibration of ``joints``; CalibrationError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CalibrationError(f"{path}: there is no such calibration; make one with `swiftvla calibrate`") from None
    except (OSError, ValueError) as error:
        raise CalibrationError(f"{path}: can't be read ({error}); make it anew with `swiftvla calibrate`") from error
    found = {}
    for joint in joints:
        if not isinstance(data, Mapping) or joint not in data:
            there = f"it has {sorted(data)}" if isinstance(data, Mapping) else "it has no joints"
            raise CalibrationError(f"{path}: joint '{joint}' is missing ({there}); calibrate again")
        try:
            found[joint] = JointCalibration(**data[joint])
        except TypeError as error:
            raise CalibrationError(f"{path}: {joint}: is not LeRobot's format ({error}); calibrate again") from error
        except CalibrationError as error:
            raise CalibrationError(f"{path}: {joint}: {error}; calibrate again") from error
    return found


def write_calibration(path: Path, calibration: Mapping[str, JointCalibration]) -> None:
    """Write the file as LeRobot does; it appears whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_text(calibration_text(calibration), encoding="utf-8")


def calibration_text(calibration: Mapping[str, JointCalibration]) -> str:
    """Return the text of the file, LeRobot's JSON."""
    return json.dumps({joint: asdict(each) for joint, each in calibration.items()}, indent=4)


def disagreements(file: Mapping[str, JointCalibration], servos: Mapping[str, JointCalibration]) -> list[str]:
    """Say where the servos' own numbers are not the file's: angles would be wrong by the difference."""
    return [
        f"{joint}: {each.name} is {there} in the servo, {here} in the file"
        for joint in file
        for each in fields(JointCalibration)
        if each.name not in ("id", "drive_mode")  # no registers
        and (here := getattr(file[joint], each.name)) != (there := getattr(servos[joint], each.name))
    ]
