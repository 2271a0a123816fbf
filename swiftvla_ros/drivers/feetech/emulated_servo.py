# SPDX-License-Identifier: Apache-2.0
"""A servo without a servo: its memory, its motion, and what can go wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from swiftvla_ros.drivers.feetech.protocol import ErrorFlag
from swiftvla_ros.drivers.feetech.registers import (
    CURRENT_A,
    FIRMWARE_MAJOR,
    FIRMWARE_MINOR,
    GOAL_POSITION,
    GOAL_VELOCITY,
    HOMING_OFFSET,
    ID,
    LOCK,
    MAX_POSITION,
    MAX_TEMPERATURE,
    MIN_POSITION,
    MIN_VOLTAGE,
    MODEL_NUMBER,
    MODEL_STS3215,
    MOVING,
    PRESENT_CURRENT,
    PRESENT_LOAD,
    PRESENT_POSITION,
    PRESENT_TEMPERATURE,
    PRESENT_VELOCITY,
    PRESENT_VOLTAGE,
    PROTECTION_CURRENT,
    RETURN_DELAY,
    STATUS,
    TICKS,
    TORQUE_ENABLE,
    VOLTAGE_V,
    Register,
)

_MEMORY_BYTES = 96
# A STS3215 at 7.4 V turns 0.222 s/60° without load.
_FASTEST = 3072.0
_FACTORY: dict[Register, int] = {
    FIRMWARE_MAJOR: 3,
    FIRMWARE_MINOR: 10,
    MODEL_NUMBER: MODEL_STS3215,
    RETURN_DELAY: 250,
    MAX_POSITION: TICKS - 1,
    MAX_TEMPERATURE: 70,
    MIN_VOLTAGE: 40,
    PROTECTION_CURRENT: 500,
    LOCK: 1,
}


@dataclass
class ServoFaults:
    """What is wrong with a servo: ``overloaded`` has it lose its force, ``renumbered`` answer as another."""

    silent: bool = False
    temperature_c: int = 32
    overloaded: bool = False
    renumbered: int | None = None


class EmulatedServo:
    """One servo: memory, a shaft that turns towards its goal at a limited speed, a supply and a temperature.

    Times are s of one clock that does not go back. ``actual`` is the shaft's position in ticks, without the homing
    offset, which the servo subtracts in what it reports, as the real one does.
    """

    def __init__(self, servo: int, actual: float = 2047.0) -> None:
        self.faults = ServoFaults()
        self.supply_v = 7.4
        self.actual = actual
        self._time_s = 0.0
        self._velocity = 0.0
        self._memory = bytearray(_MEMORY_BYTES)
        self.set(ID, servo)
        for register, value in _FACTORY.items():
            self.set(register, value)

    def get(self, register: Register) -> int:
        """A register's number."""
        return register.decode(bytes(self._memory[register.address : register.address + register.size]))

    def set(self, register: Register, value: int) -> None:
        """Set a register, whatever the lock says."""
        self._memory[register.address : register.address + register.size] = register.encode(value)

    @property
    def number(self) -> int:
        """The number that it answers to."""
        return self.get(ID) if self.faults.renumbered is None else self.faults.renumbered

    @property
    def flags(self) -> ErrorFlag:
        """What it says of its health in each answer."""
        flags = ErrorFlag(0)
        if self.faults.temperature_c >= self.get(MAX_TEMPERATURE):
            flags |= ErrorFlag.HOT
        if self.supply_v < VOLTAGE_V * self.get(MIN_VOLTAGE):
            flags |= ErrorFlag.VOLTAGE
        return flags | ErrorFlag.OVERLOAD if self.faults.overloaded else flags

    def read(self, address: int, size: int, now_s: float) -> bytes:
        """Return bytes of its memory, with what it measures at that moment."""
        self.advance(now_s)
        offset = self.get(HOMING_OFFSET)
        error = self.get(GOAL_POSITION) + offset - self.actual if self.get(TORQUE_ENABLE) else 0.0
        self.set(PRESENT_POSITION, round(self.actual) - offset)
        self.set(PRESENT_VELOCITY, round(self._velocity))
        self.set(PRESENT_LOAD, round(max(-1000.0, min(1000.0, 2.0 * error))))
        self.set(PRESENT_VOLTAGE, round(self.supply_v / VOLTAGE_V))
        self.set(PRESENT_TEMPERATURE, self.faults.temperature_c)
        self.set(STATUS, int(self.flags))
        self.set(MOVING, int(self._velocity != 0.0))
        self.set(PRESENT_CURRENT, round(min(2.0, 0.004 * abs(error)) / CURRENT_A))
        return bytes(self._memory[address : address + size])

    def write(self, address: int, data: bytes, now_s: float) -> None:
        """Take bytes into its memory; EEPROM only while it is unlocked."""
        self.advance(now_s)
        if address < TORQUE_ENABLE.address and self.get(LOCK):
            return
        self._memory[address : address + len(data)] = data
        if address == GOAL_POSITION.address:
            # The makers' examples move servos by a goal alone: it wakes one whose torque is off.
            self.set(TORQUE_ENABLE, 1)

    def push(self, actual: float) -> None:
        """Turn the shaft by hand; one that holds its position does not give way."""
        if not self.get(TORQUE_ENABLE):
            self.actual = actual

    def reboot(self) -> None:
        """Lose what is not kept without power: torque, goal and limits."""
        for register in (TORQUE_ENABLE, GOAL_POSITION, GOAL_VELOCITY):
            self.set(register, 0)
        self.set(LOCK, 1)
        self._velocity = 0.0

    def advance(self, now_s: float) -> None:
        """Let it turn until ``now_s``."""
        span_s, self._time_s = now_s - self._time_s, now_s
        if self.faults.temperature_c >= self.get(MAX_TEMPERATURE):
            # As ex factory (Unloading_Condition): too hot, it lets go.
            self.set(TORQUE_ENABLE, 0)
        if not self.get(TORQUE_ENABLE) or self.faults.overloaded or span_s <= 0:
            self._velocity = 0.0
            return
        limit = self.get(GOAL_VELOCITY)
        speed = min(_FASTEST, float(limit)) if limit else _FASTEST
        low, high = self.get(MIN_POSITION), self.get(MAX_POSITION)
        goal = min(max(self.get(GOAL_POSITION), low), high) + self.get(HOMING_OFFSET)
        step = min(max(goal - self.actual, -speed * span_s), speed * span_s)
        self.actual += step
        self._velocity = step / span_s
