# SPDX-License-Identifier: Apache-2.0
"""An arm on its bus: connected and checked, limp or holding, read and commanded once a cycle. One thread at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.drivers.feetech.angles import ServoAngles
from swiftvla_ros.drivers.feetech.bus import BusError, Port, ServoBus, open_port
from swiftvla_ros.drivers.feetech.calibration import JointCalibration, disagreements
from swiftvla_ros.drivers.feetech.connection import check_servos, stored_calibration
from swiftvla_ros.drivers.feetech.faults import ArmHealth, ServoLimits
from swiftvla_ros.drivers.feetech.registers import (
    CURRENT_A,
    GOAL_POSITION,
    GOAL_VELOCITY,
    MAX_TEMPERATURE,
    OPERATING_MODE,
    PROTECTION_CURRENT,
    RETURN_DELAY,
    TORQUE_ENABLE,
    Register,
    ServoReading,
)

Array = NDArray[np.float64]
# The servo's own limit of speed lies above the contract's by so much: it never shapes a motion that keeps to it.
_SPEED_MARGIN = 1.5
# A command this far from the goal before it is no motion but a jump: the goal goes there slowly until it has arrived.
_JUMP_RAD = 0.3
_APPROACH_RAD_S = 0.5
_ARRIVED_RAD = 0.02
# Whether a servo still holds is read this often; the block with it is twice as long.
_FULL_EVERY_S = 0.2
# A silent servo costs a wait, so it is asked only so often, without a second try.
_ASK_SILENT_S = 0.1
_REOPEN_S = 0.5
# Before the torque comes on nothing waits for an answer but this.
_PATIENT = 20
# The servo lets go by itself so far above the temperature at which the driver holds.
_LETS_GO_C = 5


@dataclass(frozen=True)
class ArmSettings:
    """What is known of an arm: its servos by joint in the order of all arrays, and the limits that they keep.

    ``speed`` [J] rad/s is the contract's; ``current_a`` [J] is None for an arm that is never driven.
    """

    path: str
    servos: Mapping[str, int]
    calibration: Mapping[str, JointCalibration]
    angles: ServoAngles
    limits: ServoLimits
    speed: Array
    current_a: Array | None
    gripper: NDArray[np.bool_]


@dataclass(frozen=True)
class ArmReading:
    """One cycle: what each joint's servo said, where it can be believed, and the arrays [J] of them, rad and rad/s."""

    stamp_ns: int
    servos: Mapping[str, ServoReading]
    believed: NDArray[np.bool_]
    position: Array
    velocity: Array


class GoalSource(Protocol):
    """Where goals come from."""

    def goal(self, now_ns: int) -> Array:
        """The position [J] that is commanded now, rad."""

    def hold(self, now_ns: int, position: Array) -> None:
        """Forget what was commanded; begin again from here."""


class DrivenArm:
    """The arm. :meth:`connect` first; then :meth:`cycle` as often as it is to be read.

    It comes limp, or as it was left; :meth:`hold` switches the torque on where the arm is. A fault holds it; see
    :class:`ArmHealth`.

    Attributes
    ----------
    health
        What is wrong, and whether commands are followed.
    drives
        Whether its torque is to be on.
    """

    def __init__(
        self,
        settings: ArmSettings,
        clock_ns: Callable[[], int],
        *,
        open_port: Callable[[str], Port] = open_port,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.health = ArmHealth(settings.servos, settings.limits, holding=False)
        self.bus: ServoBus | None = None
        self._clock_ns, self._open, self._monotonic = clock_ns, open_port, monotonic
        self._joints = tuple(settings.servos)
        self._numbers = np.array([settings.servos[joint] for joint in self._joints])
        count = len(self._joints)
        self._position, self._goal = np.zeros(count), np.zeros(count)
        self._approaching = self._followed = False
        self._full_s = self._silent_asked_s = self._tried_s = self._goal_s = -np.inf

    @property
    def drives(self) -> bool:
        """Whether its torque is to be on."""
        return self.health.holding

    def connect(self) -> list[str]:
        """Open the port, check numbers and calibration, set the servos' limits; return what was changed in them.

        BusError or CalibrationError with what is wrong. Nothing moves, and a servo that holds goes on holding.
        """
        bus = ServoBus(self._open(self.settings.path), self.settings.path)
        try:
            check_servos(bus, self.settings.servos)
            self._check_calibration(bus)
            changed = self._set_limits(bus)
        except BaseException:
            bus.close()
            raise
        self.bus = bus
        return changed

    def hold(self) -> None:
        """Switch the torque on, each servo's goal being where it is: nothing moves."""
        self.health.holding = True
        self._hold_here(self._read_all())

    def let_go(self) -> None:
        """Switch the torque off, whatever the servos say; those that don't answer are left."""
        self.health.holding = False
        if self.bus is None:
            return
        off = dict.fromkeys(self.settings.servos.values(), 0)
        # To all at once, twice: nobody answers this, so nobody's fault can keep it from the others.
        for _ in range(2):
            self.bus.write_all(TORQUE_ENABLE, off)

    def close(self) -> None:
        """Give the port back; servos stay as they are."""
        if self.bus is not None:
            self.bus.close()
            self.bus = None

    def resume(self, commands: GoalSource) -> str:
        """Follow commands again from where the arm is; the answer says what is still wrong, or is empty."""
        if self.bus is None or self.health.lasting:
            return self.health.lasting
        try:
            # One that restarted has lost its limits, too.
            self._set_limits(self.bus)
            self.hold()
        except BusError as error:
            return str(error)
        commands.hold(self._clock_ns(), self._position)
        self.health.resume()
        return ""

    def cycle(self, commands: GoalSource) -> ArmReading | None:
        """Read all servos, judge, and write the goals; None while the port is gone."""
        now_s = self._monotonic()
        if self.bus is None:
            if now_s - self._tried_s >= _REOPEN_S:
                self._tried_s = now_s
                self._reopen(now_s)
            return None
        try:
            reading = self._read(now_s)
            if self.drives:
                self._command(commands, now_s)
            return reading
        except BusError as error:
            self.close()
            self.health.gone(str(error))
            self._followed = False
            self._tried_s = now_s
            return None

    def _reopen(self, now_s: float) -> None:
        held = self.drives
        try:
            self.connect()
            assert self.bus is not None
            readings = self._read_all()
            # Servos that kept their power hold still; what was left of the last motion ends here. The others stay limp.
            holding = np.array([j in readings and bool(readings[j].torque) for j in self._joints])
            if held:
                self._position = self._positions(readings)
                self._write_goals(self._position, holding)
        except (BusError, ValueError) as error:
            self.close()
            self.health.gone(str(error))
            return
        self.health.take(readings, now_s)
        if held:
            limp = ", ".join(joint for joint, holds in zip(self._joints, holding, strict=True) if not holds)
            state = f"{limp} is limp" if limp else "the arm is held where it is"
            self.health.waits = f"{self.settings.path} is back: {state}"

    def _read(self, now_s: float) -> ArmReading:
        assert self.bus is not None
        health, full = self.health, now_s - self._full_s >= _FULL_EVERY_S
        silent = [joint for joint in self._joints if not health.believed(joint)]
        asked = [joint for joint in self._joints if joint not in silent]
        before_ns = self._clock_ns()
        found = self.bus.read_states([self.settings.servos[joint] for joint in asked], full=full)
        # The servos measure when they are asked, one after the other.
        stamp_ns = (before_ns + self._clock_ns()) // 2
        if silent and now_s - self._silent_asked_s >= _ASK_SILENT_S:
            self._silent_asked_s = now_s
            numbers = [self.settings.servos[joint] for joint in silent]
            found |= self.bus.read_states(numbers, full=True, retries=0)
        self._full_s = now_s if full else self._full_s
        servos = {joint: found[number] for joint, number in self.settings.servos.items() if number in found}
        health.take(servos, now_s)
        self._position = self._positions(servos)
        velocity = np.array([float(servos[j].velocity) if j in servos else 0.0 for j in self._joints])
        believed = np.array([j in servos and health.believed(j) for j in self._joints])
        return ArmReading(stamp_ns, servos, believed, self._position.copy(), self.settings.angles.velocity(velocity))

    def _command(self, commands: GoalSource, now_s: float) -> None:
        if not self.health.follows:
            if self._followed:
                self._stand()
            self._followed = False
            return
        if not self._followed:
            # It begins, or a silent servo answers again: on from where the arm is.
            commands.hold(self._clock_ns(), np.where(self.settings.gripper, self._goal, self._position))
            self._goal = np.where(self.settings.gripper, self._goal, self._position)
            self._approaching, self._followed, self._goal_s = False, True, now_s
        wanted = commands.goal(self._clock_ns())
        far = float(np.abs(wanted - self._goal).max())
        self._approaching = far > (_ARRIVED_RAD if self._approaching else _JUMP_RAD)
        speed = np.full(len(wanted), _APPROACH_RAD_S) if self._approaching else _SPEED_MARGIN * self.settings.speed
        step = speed * (now_s - self._goal_s)
        self._goal = np.clip(wanted, self._goal - step, self._goal + step)
        self._goal_s = now_s
        self._write_goals(self._goal, np.ones(len(wanted), dtype=bool))

    def _stand(self) -> None:
        """Hold where the arm is; a gripper that is not at fault keeps its goal, and what it has in its grip."""
        health = self.health
        keeps = self.settings.gripper & np.array([not health.at_fault(joint) for joint in self._joints])
        self._goal = np.where(keeps, self._goal, self._position)
        # A goal would wake a servo whose torque is off.
        self._write_goals(self._goal, np.array([health.believed(j) and health.holds(j) for j in self._joints]))

    def _hold_here(self, readings: Mapping[str, ServoReading]) -> None:
        assert self.bus is not None
        if missing := [joint for joint in self._joints if joint not in readings]:
            raise BusError(f"{self.settings.path}: {', '.join(missing)} does not answer; check the cables")
        self._position = self._positions(readings)
        # What the servo says, exactly, also where it lies outside the calibrated range: no jump back into it.
        self.bus.write_all(GOAL_POSITION, {self.settings.servos[j]: max(0, r.position) for j, r in readings.items()})
        for servo in self.settings.servos.values():
            self.bus.write(TORQUE_ENABLE, servo, 1)
        self._goal, self._followed = self._position.copy(), False

    def _read_all(self) -> dict[str, ServoReading]:
        assert self.bus is not None
        found = self.bus.read_states(self.settings.servos.values(), full=True, retries=_PATIENT)
        return {joint: found[servo] for joint, servo in self.settings.servos.items() if servo in found}

    def _positions(self, servos: Mapping[str, ServoReading]) -> Array:
        """Measured positions [J], rad; the last one of a joint that did not answer."""
        ticks = np.array([float(servos[j].position) if j in servos else np.nan for j in self._joints])
        radians = self.settings.angles.radians(ticks)
        return np.where(np.isnan(radians), self._position, radians)

    def _write_goals(self, goal: Array, which: NDArray[np.bool_]) -> None:
        assert self.bus is not None
        ticks = self.settings.angles.ticks(goal)
        if which.any():
            numbers, values = self._numbers[which].tolist(), ticks[which].tolist()
            self.bus.write_all(GOAL_POSITION, dict(zip(numbers, values, strict=True)))

    def _check_calibration(self, bus: ServoBus) -> None:
        wrong = disagreements(self.settings.calibration, stored_calibration(bus, self.settings.servos))
        if wrong:
            raise BusError(
                f"{self.settings.path}: the servos were calibrated otherwise than the file says, so angles would be "
                f"wrong: {'; '.join(wrong[:3])}{' …' if len(wrong) > 3 else ''}. Write the file's numbers into them "
                "with `swiftvla calibrate --restore`, or calibrate again"
            )

    def _set_limits(self, bus: ServoBus) -> list[str]:
        """Set what the servos keep themselves; EEPROM only where it differs, for it wears."""
        changed = []
        speed = self.settings.angles.speed_ticks(_SPEED_MARGIN * self.settings.speed).tolist()
        for j, (joint, servo) in enumerate(self.settings.servos.items()):
            values: dict[Register, int] = {RETURN_DELAY: 0}
            if self.settings.current_a is not None:
                values[OPERATING_MODE] = 0
                values[MAX_TEMPERATURE] = round(self.settings.limits.max_temperature_c) + _LETS_GO_C
                values[PROTECTION_CURRENT] = round(self.settings.current_a[j] / CURRENT_A)
                bus.write(GOAL_VELOCITY, servo, speed[j])
            changed += [f"{joint}: {register.name} {values[register]}" for register in bus.write_eeprom(servo, values)]
        return changed
