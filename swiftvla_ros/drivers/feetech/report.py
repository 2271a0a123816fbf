# SPDX-License-Identifier: Apache-2.0
"""What an arm on its bus says of itself, for a table to send to others. Nothing is written, nothing moves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from swiftvla_ros.drivers.feetech.bus import ServoBus, SilentServoError
from swiftvla_ros.drivers.feetech.calibration import CalibrationError, disagreements, read_calibration
from swiftvla_ros.drivers.feetech.connection import scan, stored_calibration
from swiftvla_ros.drivers.feetech.registers import (
    CURRENT_A,
    FIRMWARE_MAJOR,
    FIRMWARE_MINOR,
    MAX_TEMPERATURE,
    MODEL_NUMBER,
    MODEL_STS3215,
    PROTECTION_CURRENT,
    RETURN_DELAY,
    TORQUE_ENABLE,
)

_READS = 200


def servo_rows(bus: ServoBus, servos: Mapping[str, int]) -> list[tuple[str, ...]]:
    """One row for each servo: joint, number, model, firmware, position, V, °C, limits, delay, torque."""
    rows: list[tuple[str, ...]] = []
    states = bus.read_states(servos.values())
    for joint, servo in servos.items():
        try:
            model = bus.read(MODEL_NUMBER, servo)
            firmware = f"{bus.read(FIRMWARE_MAJOR, servo)}.{bus.read(FIRMWARE_MINOR, servo)}"
            limits = f"{bus.read(MAX_TEMPERATURE, servo)} °C, {CURRENT_A * bus.read(PROTECTION_CURRENT, servo):.1f} A"
            delay, torque = f"{2 * bus.read(RETURN_DELAY, servo)} µs", "on" if bus.read(TORQUE_ENABLE, servo) else "off"
        except SilentServoError:
            rows.append((joint, str(servo), "does not answer", *[""] * 7))
            continue
        name = "STS3215" if model == MODEL_STS3215 else f"model {model}"
        state = states.get(servo)
        measured = ("–",) * 3 if state is None else (state.position, f"{state.voltage_v:.1f}", state.temperature_c)
        rows.append((joint, str(servo), name, firmware, *map(str, measured), limits, delay, torque))
    return rows


def bus_rows(bus: ServoBus, servos: Mapping[str, int], file: Path) -> list[tuple[str, str]]:
    """What is true of the whole: numbers, read rate, damaged answers, calibration against the EEPROM."""
    rows = [("port", bus.path), ("numbers that answer", ", ".join(map(str, scan(bus))) or "none")]
    before_damaged, before_retries = bus.counts.damaged, bus.counts.retries
    begin_s, complete, slowest_s = time.perf_counter(), 0, 0.0
    for _ in range(_READS):
        cycle_s = time.perf_counter()
        complete += len(bus.read_states(servos.values())) == len(servos)
        slowest_s = max(slowest_s, time.perf_counter() - cycle_s)
    rate_hz = _READS / (time.perf_counter() - begin_s)
    rows.append(("reads of all servos", f"{rate_hz:.0f} Hz, slowest {1e3 * slowest_s:.1f} ms"))
    rows.append(("complete", f"{complete} of {_READS}"))
    rows.append(("damaged answers", f"{bus.counts.damaged - before_damaged} of {_READS * len(servos)}"))
    rows.append(("asked again", str(bus.counts.retries - before_retries)))
    try:
        wrong = disagreements(read_calibration(file, servos), stored_calibration(bus, servos))
        rows.append(("calibration", f"{file}: {'; '.join(wrong) or 'the servos agree'}"))
    except (CalibrationError, SilentServoError) as error:
        rows.append(("calibration", str(error)))
    return rows
