# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with an arm of servos, what becomes of the arm then, and when it goes on: the state machine.

``python -m swiftvla_ros.drivers.feetech.faults`` prints the table of docs/so101.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from swiftvla_ros.drivers.feetech.protocol import ErrorFlag
from swiftvla_ros.drivers.feetech.registers import ServoReading

# One lost answer is noise; after this long without one the servo is silent. The same of a dip of the supply.
SILENT_S = 0.1
_DIP_S = 0.1
# What was too hot must be cooler by so much, and what was too low higher, before it counts as mended.
_COOLED_C = 5.0
_RECOVERED_V = 0.2


class Fault(Enum):
    """What can be wrong."""

    SILENT = "silent"
    GONE = "gone"
    RESTARTED = "restarted"
    HOT = "hot"
    OVERLOADED = "overloaded"
    LOW_VOLTAGE = "low voltage"
    SENSOR = "sensor"


@dataclass(frozen=True)
class FaultRule:
    """What happens: for people, in the words of the page; ``within_s`` is the longest time until it is named."""

    what: str
    within_s: float
    arm: str
    joint_states: str
    goes_on: str


_RESUME = "when it is mended, after `~/resume`"
RULES = {
    Fault.SILENT: FaultRule(
        "a servo does not answer", 0.3, "held", "without that joint", "by itself, when it answers and still holds"
    ),
    Fault.GONE: FaultRule(
        "the USB cable is pulled",
        0.2,
        "its servos hold by themselves",
        "none",
        "opened again within 1 s, then `~/resume`",
    ),
    Fault.RESTARTED: FaultRule(
        "a servo restarted, or lost power, and holds no longer", 0.6, "the others are held", "all", _RESUME
    ),
    Fault.HOT: FaultRule("a servo is too hot", 0.2, "held", "all", _RESUME),
    Fault.OVERLOADED: FaultRule("a servo is overloaded", 0.2, "held", "all", _RESUME),
    Fault.LOW_VOLTAGE: FaultRule("the supply is too low", 0.3, "held", "all", _RESUME),
    Fault.SENSOR: FaultRule("a servo's position sensor fails", 0.2, "held", "without that joint", _RESUME),
}


def fault_table() -> str:
    """Write the rules as the table of docs/so101.md."""
    lines = ["| fault | named within | the arm | joint states | goes on |", "|---|---|---|---|---|"]
    lines += [
        f"| {rule.what} | {rule.within_s:g} s | {rule.arm} | {rule.joint_states} | {rule.goes_on} |"
        for rule in RULES.values()
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class ServoLimits:
    """Beyond which an arm holds: °C and V."""

    max_temperature_c: float
    min_voltage_v: float


class ArmHealth:
    """Judges readings, cycle by cycle; says whether the arm may follow commands, and why not.

    ``servos`` gives each joint's number, for sentences. Without ``holding`` (torque is off on purpose) nothing waits
    for a person: a fault is over when its cause is. Times are s, of one clock.

    Attributes
    ----------
    found
        What is wrong now, by fault and joint (empty for all), as sentences.
    waits
        Why nothing is followed though nothing is wrong any more; empty, or a sentence: :meth:`resume` ends it.
    """

    def __init__(self, servos: Mapping[str, int], limits: ServoLimits, *, holding: bool) -> None:
        self._servos, self._limits = dict(servos), limits
        self.holding = holding
        self.found: dict[tuple[Fault, str], str] = {}
        self.waits = ""
        self._answered_s: dict[str, float] = {}
        self._low_since_s: float | None = None

    @property
    def follows(self) -> bool:
        """Whether commands are followed."""
        return not self.found and not self.waits

    @property
    def text(self) -> str:
        """Why nothing is followed; empty where all is well."""
        return "; ".join(self.found.values()) or self.waits

    def believed(self, joint: str) -> bool:
        """Whether the joint's position can be."""
        return not self.found or not {(Fault.SILENT, joint), (Fault.SENSOR, joint), (Fault.GONE, "")} & set(self.found)

    def holds(self, joint: str) -> bool:
        """Whether the joint's torque is on, as far as is known."""
        return self.holding and (Fault.RESTARTED, joint) not in self.found

    def at_fault(self, joint: str) -> bool:
        """Whether something is wrong with this joint."""
        return any(each == joint for _, each in self.found)

    def take(self, readings: Mapping[str, ServoReading], now_s: float) -> None:
        """Take what the servos answered, by joint."""
        self._drop(Fault.GONE, "")
        for joint in self._servos:
            if joint in readings:
                self._judge(joint, readings[joint], now_s)
            elif now_s - self._answered_s.setdefault(joint, now_s) >= SILENT_S:
                self._find(
                    Fault.SILENT,
                    joint,
                    f"{joint} (servo {self._servos[joint]}) does not answer: check the cables at it, and its number",
                )
        self._judge_supply([reading.voltage_v for reading in readings.values()], now_s)

    def gone(self, sentence: str) -> None:
        """The port is gone."""
        self._find(Fault.GONE, "", sentence)
        for joint in self._servos:
            self._drop(Fault.SILENT, joint)

    @property
    def lasting(self) -> str:
        """What is wrong and can't be mended by switching the torque on again; empty where nothing is."""
        return "; ".join(text for (fault, _), text in self.found.items() if fault is not Fault.RESTARTED)

    def resume(self) -> None:
        """Follow commands again: the torque is on again, and nothing is :attr:`lasting`."""
        self.found.clear()
        self._answered_s.clear()
        self.waits = ""

    def _judge(self, joint: str, reading: ServoReading, now_s: float) -> None:
        self._answered_s[joint] = now_s
        flags, limit = reading.flags, self._limits.max_temperature_c
        # A goal wakes a servo that restarted: then only its limit of speed, which it has lost, tells of it.
        lost = self.holding and (reading.torque is False or reading.speed_limit == 0)
        if not self.found and not flags and not lost and reading.temperature_c <= limit:
            return
        if reading.torque is not None or not self.holding:
            # Only now it is known whether one that answers again has been away without power.
            self._drop(Fault.SILENT, joint)
        if lost:
            self._find(
                Fault.RESTARTED,
                joint,
                f"{joint} let go: its servo restarted, or protected itself; check its cables, the supply and the load",
            )
        hot = limit - _COOLED_C * ((Fault.HOT, joint) in self.found)
        self._set(
            Fault.HOT,
            joint,
            reading.temperature_c > hot or bool(flags & ErrorFlag.HOT),
            f"{joint} is at {reading.temperature_c} °C, limit {limit:g}: take the load off and let it cool",
        )
        overloaded = bool(flags & (ErrorFlag.OVERLOAD | ErrorFlag.CURRENT))
        self._set(Fault.OVERLOADED, joint, overloaded, f"{joint} is overloaded: free it, or take the load off")
        broken = bool(flags & ErrorFlag.SENSOR)
        self._set(Fault.SENSOR, joint, broken, f"{joint}: its position sensor fails; the servo has to be replaced")

    def _judge_supply(self, volts: list[float], now_s: float) -> None:
        if not volts:
            return
        lowest = min(volts)
        least = self._limits.min_voltage_v + _RECOVERED_V * ((Fault.LOW_VOLTAGE, "") in self.found)
        if lowest >= least:
            self._low_since_s = None
            self._drop(Fault.LOW_VOLTAGE, "")
            return
        self._low_since_s = now_s if self._low_since_s is None else self._low_since_s
        if now_s - self._low_since_s >= _DIP_S:
            text = f"the supply gives {lowest:.1f} V, limit {self._limits.min_voltage_v:g}: check it and its plug"
            self._find(Fault.LOW_VOLTAGE, "", text)

    def _set(self, fault: Fault, joint: str, wrong: bool, sentence: str) -> None:
        if wrong:
            self._find(fault, joint, sentence)
        else:
            self._drop(fault, joint)

    def _find(self, fault: Fault, joint: str, sentence: str) -> None:
        self.found[fault, joint] = sentence
        if self.holding and fault is not Fault.SILENT:
            self.waits = f"held since this: {sentence}"

    def _drop(self, fault: Fault, joint: str) -> None:
        self.found.pop((fault, joint), None)


if __name__ == "__main__":
    print(fault_table())
