# SPDX-License-Identifier: Apache-2.0
"""The control table of an STS3215: where each register is, how its numbers are written, and what they mean.

Addresses and sizes are Feetech's ("STS3215 memory table"); which bit is the sign as LeRobot has it
(lerobot.motors.feetech.tables, Apache-2.0). Signed numbers are a magnitude and a sign bit, not two's complement.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from swiftvla_ros.drivers.feetech.protocol import ErrorFlag

MODEL_STS3215 = 777
TICKS = 4096
"""Positions in a turn: 0 to 4095."""

CURRENT_A = 6.5e-3
VOLTAGE_V = 0.1
LOAD_PERCENT = 0.1


@dataclass(frozen=True)
class Register:
    """Where a number is in the servo: ``sign_bit`` is None where it has no sign; EEPROM is kept without power."""

    name: str
    address: int
    size: int = 1
    sign_bit: int | None = None

    def encode(self, value: int) -> bytes:
        """Return its bytes; ValueError where it can't hold ``value``."""
        largest = (1 << (8 * self.size)) - 1 if self.sign_bit is None else (1 << self.sign_bit) - 1
        if abs(value) > largest or (self.sign_bit is None and value < 0):
            raise ValueError(f"register {self.name} can't hold {value}; its largest number is {largest}")
        raw = value if value >= 0 or self.sign_bit is None else -value | (1 << self.sign_bit)
        return raw.to_bytes(self.size, "little")

    def decode(self, data: bytes) -> int:
        """Return the number that its bytes mean."""
        raw = int.from_bytes(data, "little")
        return raw if self.sign_bit is None else _signed(raw, self.sign_bit)


def _signed(raw: int, sign_bit: int) -> int:
    magnitude = raw & ((1 << sign_bit) - 1)
    return -magnitude if raw >> sign_bit & 1 else magnitude


FIRMWARE_MAJOR = Register("Firmware_Major_Version", 0)
FIRMWARE_MINOR = Register("Firmware_Minor_Version", 1)
MODEL_NUMBER = Register("Model_Number", 3, 2)
ID = Register("ID", 5)
RETURN_DELAY = Register("Return_Delay_Time", 7)  # 2 µs each; 250 ex factory
MIN_POSITION = Register("Min_Position_Limit", 9, 2)
MAX_POSITION = Register("Max_Position_Limit", 11, 2)
MAX_TEMPERATURE = Register("Max_Temperature_Limit", 13)  # °C
MIN_VOLTAGE = Register("Min_Voltage_Limit", 15)
PROTECTION_CURRENT = Register("Protection_Current", 28, 2)
HOMING_OFFSET = Register("Homing_Offset", 31, 2, sign_bit=11)
OPERATING_MODE = Register("Operating_Mode", 33)  # 0: position
TORQUE_ENABLE = Register("Torque_Enable", 40)
GOAL_POSITION = Register("Goal_Position", 42, 2, sign_bit=15)
GOAL_VELOCITY = Register("Goal_Velocity", 46, 2, sign_bit=15)  # ticks/s, the largest speed towards the goal; 0: any
LOCK = Register("Lock", 55)
PRESENT_POSITION = Register("Present_Position", 56, 2, sign_bit=15)
PRESENT_VELOCITY = Register("Present_Velocity", 58, 2, sign_bit=15)  # ticks/s
PRESENT_LOAD = Register("Present_Load", 60, 2, sign_bit=10)
PRESENT_VOLTAGE = Register("Present_Voltage", 62)
PRESENT_TEMPERATURE = Register("Present_Temperature", 63)
STATUS = Register("Status", 65)
MOVING = Register("Moving", 66)
PRESENT_CURRENT = Register("Present_Current", 69, 2, sign_bit=15)

STATE_ADDRESS, STATE_BYTES = 56, 15
"""All that a servo measures, in one block."""
FULL_ADDRESS, FULL_BYTES = 40, 31
"""The same with what was written to it before: torque, goal, limits, lock."""
# Position, speed, load, voltage, temperature, status, current; a loop reads it too often for a register at a time.
_STATE = struct.Struct("<HHHBBxBxxxH")


@dataclass(frozen=True)
class ServoReading:
    """What a servo said of itself: ticks, ticks/s, % of its torque, V, °C, A.

    ``torque`` says whether it holds its position, ``speed_limit`` (ticks/s) what was set; None where that was not read.
    """

    position: int
    velocity: int
    load_percent: float
    voltage_v: float
    temperature_c: int
    flags: ErrorFlag
    current_a: float
    torque: bool | None = None
    speed_limit: int | None = None


def read_state(data: bytes, flags: int = 0) -> ServoReading:
    """Make a reading of the block at ``STATE_ADDRESS`` or at ``FULL_ADDRESS``; ``flags`` are those of the answer."""
    full = len(data) == FULL_BYTES
    position, velocity, load, voltage, temperature, status, current = _STATE.unpack_from(data, len(data) - STATE_BYTES)
    return ServoReading(
        _signed(position, 15),
        _signed(velocity, 15),
        LOAD_PERCENT * _signed(load, 10),
        VOLTAGE_V * voltage,
        temperature,
        ErrorFlag(flags | status),
        CURRENT_A * _signed(current, 15),
        data[0] == 1 if full else None,
        GOAL_VELOCITY.decode(data[6:8]) if full else None,
    )
