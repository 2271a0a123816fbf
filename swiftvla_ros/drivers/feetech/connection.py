# SPDX-License-Identifier: Apache-2.0
"""Whether the servos on a bus are those that were described: their numbers, and the calibration in them."""

from __future__ import annotations

from collections.abc import Mapping

from swiftvla_ros.drivers.feetech.bus import BusError, ServoBus
from swiftvla_ros.drivers.feetech.calibration import JointCalibration
from swiftvla_ros.drivers.feetech.registers import HOMING_OFFSET, MAX_POSITION, MIN_POSITION

# The factory's numbers and some more, looked through for a servo that is not where it should be.
_SCANNED = range(1, 21)


# As patient as with any other question to one servo.
_PINGS = 10


def scan(bus: ServoBus) -> list[int]:
    """Find which of the usual numbers answer."""
    return [servo for servo in _SCANNED if bus.ping(servo)]


def check_servos(bus: ServoBus, servos: Mapping[str, int]) -> None:
    """Raise BusError where a joint's servo does not answer, with what is there instead."""
    silent = [joint for joint, servo in servos.items() if not any(bus.ping(servo) for _ in range(_PINGS))]
    if not silent:
        return
    names = ", ".join(f"{joint} (servo {servos[joint]})" for joint in silent)
    there = scan(bus)
    if not there:
        raise BusError(f"{bus.path}: no servo answers; is the arm's power on, and its cable at the adapter?")
    strangers = [servo for servo in there if servo not in servos.values()]
    guess = f"; perhaps {'it is' if len(silent) == 1 else 'they are'} {_named(strangers)}" if strangers else ""
    raise BusError(
        f"{bus.path}: {names} does not answer; on the bus are {_named(there)}{guess}. Check its cable; a servo gets "
        "another number with lerobot-setup-motors, or write the numbers there are as drivers.*.ids into the contract"
    )


def _named(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def stored_calibration(
    bus: ServoBus, servos: Mapping[str, int], file: Mapping[str, JointCalibration] | None = None
) -> dict[str, JointCalibration]:
    """Read the calibration in the servos; ``drive_mode``, which they don't have, is the file's."""
    return {
        joint: JointCalibration(
            servo,
            file[joint].drive_mode if file else 0,
            bus.read(HOMING_OFFSET, servo),
            bus.read(MIN_POSITION, servo),
            bus.read(MAX_POSITION, servo),
        )
        for joint, servo in servos.items()
    }
