# SPDX-License-Identifier: Apache-2.0
"""What a contract locks on a camera, as V4L2 controls: which, in which order, and whether the camera took them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swiftvla_ros.contract.sections.camera_driver import CameraDriver
from swiftvla_ros.drivers.cameras import v4l2
from swiftvla_ros.drivers.cameras.v4l2 import CameraControl, ControlId

_MANUAL_EXPOSURE, _AUTOMATIC_EXPOSURE = 1, 3
_PER_MS = 10  # exposure is in steps of 100 µs


@dataclass(frozen=True)
class Setting:
    """A control and its value; ``key`` is what the contract calls it, empty for what is set whatever it says.

    ``optional``: a camera without it needs it not.
    """

    key: str
    control: ControlId
    value: int
    optional: bool = False


def wanted_settings(driver: CameraDriver, known: dict[int, CameraControl]) -> list[Setting]:
    """List what to set, in order: what the camera chooses by itself is switched off before its value is set.

    What the contract leaves out is given back to the camera: V4L2 keeps what the last program set until the camera is
    unplugged. A camera never takes longer for a picture than its rate allows, though it would like to in the dark.
    """
    automatic = known.get(ControlId.EXPOSURE_AUTO)
    default = automatic.default if automatic and automatic.default != _MANUAL_EXPOSURE else _AUTOMATIC_EXPOSURE
    settings = [Setting("", ControlId.EXPOSURE_MAY_SLOW_DOWN, 0, optional=True)]
    for key, value, automatic_id, manual, by_itself, value_id in (
        (
            "exposure_ms",
            None if driver.exposure_ms is None else round(driver.exposure_ms * _PER_MS),
            ControlId.EXPOSURE_AUTO,
            _MANUAL_EXPOSURE,
            default,
            ControlId.EXPOSURE_100_US,
        ),
        (
            "white_balance_k",
            None if driver.white_balance_k is None else round(driver.white_balance_k),
            ControlId.WHITE_BALANCE_AUTO,
            0,
            1,
            ControlId.WHITE_BALANCE_K,
        ),
        ("focus", driver.focus, ControlId.FOCUS_AUTO, 0, 1, ControlId.FOCUS),
    ):
        settings.append(Setting(key, automatic_id, by_itself if value is None else manual, optional=True))
        if value is not None:
            settings.append(Setting(key, value_id, value))
    if driver.gain is not None:
        settings.append(Setting("gain", ControlId.GAIN, driver.gain))
    return settings


def apply_settings(path: Path, driver: CameraDriver) -> list[str]:
    """Set a camera up; returns a sentence for each key that it did not take, with what it would."""
    problems = []
    with v4l2.opened(path) as device:
        known = v4l2.controls(device)
        for setting in wanted_settings(driver, known):
            if setting.control not in known:
                if not setting.optional:
                    problems.append(f"{setting.key}: this camera has no such control; remove the key")
                continue
            try:
                v4l2.set_control(device, setting.control, setting.value)
            except OSError as error:
                if setting.key:
                    problems.append(_refused(setting, known[setting.control], error.strerror or str(error)))
                continue
            now = v4l2.get_control(device, setting.control)
            if setting.key and now is not None and now != setting.value:
                problems.append(_refused(setting, known[setting.control], f"it is at {now} now"))
    return problems


def _refused(setting: Setting, control: CameraControl, why: str) -> str:
    scale = " (steps of 0.1 ms)" if setting.control == ControlId.EXPOSURE_100_US else ""
    return (
        f"{setting.key}: the camera did not take {setting.value} for '{control.name}': {why}; it takes "
        f"{control.least} to {control.most}{scale}"
    )
