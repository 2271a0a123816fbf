# SPDX-License-Identifier: Apache-2.0
"""The serial bus: asks servos, waits for their answers, tries again, and says which servo did not answer.

One thread at a time may use it. An answer that is damaged costs only that servo's: the others' count.
"""

from __future__ import annotations

import termios
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from swiftvla_ros.drivers.feetech.protocol import (
    FRAME_BYTES,
    BusInstruction,
    Packet,
    PacketStream,
    sync_read,
    sync_write,
)
from swiftvla_ros.drivers.feetech.registers import (
    FULL_ADDRESS,
    FULL_BYTES,
    LOCK,
    STATE_ADDRESS,
    STATE_BYTES,
    Register,
    ServoReading,
    read_state,
)
from swiftvla_ros.errors import UserError

BAUD = 1_000_000
# Six answers are 2 ms on the wire, and an adapter hands them over within 1 ms or 2; a silent servo costs this wait.
ANSWER_S = 0.010
# Bad packets are normal on real arms (lerobot #3131, #4282).
RETRIES = 2
# One servo alone is asked while nothing has to be in time: a machine that stands still for a moment is no silent servo,
# and 0.3 s is longer than such a moment.
_RETRIES_OF_ONE = 29
# So many questions back a late answer is told by its length.
_REMEMBERED = 3
# A machine that stands still for a moment is no lost port.
_WRITE_S = 1.0
# What a lost cable looks like; termios.error is no OSError.
GONE = (OSError, termios.error)


class BusError(UserError, OSError):
    """The port can't be used, or is gone; the message names it, and the fix."""


class SilentServoError(BusError):
    """A servo does not answer."""

    def __init__(self, servo: int, what: str) -> None:
        super().__init__(f"servo {servo} does not answer ({what}); check its cable and its number")
        self.servo = servo


class Port(Protocol):
    """What the bus uses of pyserial's ``Serial``."""

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, or fewer after a while."""

    def write(self, data: bytes) -> int | None:
        """Send bytes."""

    def reset_input_buffer(self) -> None:
        """Forget what has come."""

    def close(self) -> None:
        """Give the port back."""


@dataclass
class BusCounts:
    """What went over the bus since it was opened."""

    reads: int = 0
    answers: int = 0
    damaged: int = 0
    retries: int = 0


def open_port(path: str) -> Port:
    """Open a serial port for this process alone; BusError with what is wrong with it."""
    import serial

    try:
        port: Any = serial.Serial(path, BAUD, timeout=ANSWER_S, write_timeout=_WRITE_S, exclusive=True)
    except GONE as error:
        raise BusError(f"{path}: {_why_not(path, error)}") from error
    except ValueError as error:
        raise BusError(f"{path}: is no serial port ({error})") from error
    return port


def _why_not(path: str, error: Exception) -> str:
    # pyserial's own errors carry no errno where the lock fails.
    if not Path(path).exists():
        return "there is no such port; plug the arm's USB cable in, or see `swiftvla calibrate --ports`"
    number = error.args[0] if error.args else None
    if number == 13 or "Permission" in str(error):
        return "permission denied; sudo usermod -aG dialout $USER, then log in again"
    if "lock" in str(error) or number in (11, 16):
        return "another program has it open; end that one"
    return f"can't be opened ({error})"


class ServoBus:
    """Servos on one open port.

    Methods raise BusError where the port is gone.
    """

    def __init__(self, port: Port, path: str) -> None:
        self._port = port
        self.path = path
        self.counts = BusCounts()
        self._stream = PacketStream()
        self._lengths: deque[int] = deque(maxlen=_REMEMBERED)

    def close(self) -> None:
        """Give the port back."""
        try:
            self._port.close()
        except GONE:
            return

    def ping(self, servo: int) -> bool:
        """Whether a servo answers."""
        packet = Packet(servo, BusInstruction.PING)
        return any(servo in self._ask(packet, (servo,), 0) for _ in range(1 + RETRIES))

    def read(self, register: Register, servo: int) -> int:
        """Read one register of one servo; SilentServoError.

        An answer doesn't say which register it holds, and one that was asked for again may come twice, the second time
        to the next question. So questions that follow one another ask for different numbers of bytes: those behind the
        register are passed over.
        """
        length = next(n for n in count(register.size) if n not in self._lengths)
        self._lengths.append(length)
        packet = Packet(servo, BusInstruction.READ, bytes((register.address, length)))
        for _ in range(1 + _RETRIES_OF_ONE):
            if answer := self._ask(packet, (servo,), length).get(servo):
                return register.decode(answer.parameters[: register.size])
        raise SilentServoError(servo, f"read {register.name}")

    def write(self, register: Register, servo: int, value: int) -> None:
        """Write one register of one servo; SilentServoError. What the servo says of its health is ignored."""
        packet = Packet(servo, BusInstruction.WRITE, bytes((register.address,)) + register.encode(value))
        for _ in range(1 + _RETRIES_OF_ONE):
            if servo in self._ask(packet, (servo,), 0):
                return
        raise SilentServoError(servo, f"write {register.name}")

    def write_eeprom(self, servo: int, values: Mapping[Register, int]) -> list[Register]:
        """Write what differs of registers that are kept without power; return which were."""
        changed = [register for register, value in values.items() if self.read(register, servo) != value]
        if changed:
            self.write(LOCK, servo, 0)
            try:
                for register in changed:
                    self.write(register, servo, values[register])
            finally:
                self.write(LOCK, servo, 1)
        return changed

    def read_states(
        self, servos: Iterable[int], *, full: bool = False, retries: int = RETRIES
    ) -> dict[int, ServoReading]:
        """Read all that servos measure, at once; those that did not answer are left out. ``full``: torque, too."""
        address, size = (FULL_ADDRESS, FULL_BYTES) if full else (STATE_ADDRESS, STATE_BYTES)
        missing, found = tuple(servos), dict[int, ServoReading]()
        for attempt in range(1 + retries):
            if not missing:
                break
            self.counts.retries += attempt > 0
            for servo, answer in self._ask(sync_read(address, size, missing), missing, size).items():
                found[servo] = read_state(answer.parameters, answer.code)
            missing = tuple(servo for servo in missing if servo not in found)
        return found

    def write_all(self, register: Register, values: Mapping[int, int]) -> None:
        """Write a register of several servos at once; nobody answers."""
        data = {servo: register.encode(value) for servo, value in values.items()}
        self._send(sync_write(register.address, register.size, data))

    def _send(self, packet: Packet) -> None:
        try:
            self._port.write(packet.encode())
        except GONE as error:
            raise self._gone(error) from error

    def _ask(self, packet: Packet, servos: tuple[int, ...], size: int) -> dict[int, Packet]:
        """Send a packet and return the answers with ``size`` bytes, by servo."""
        stream, found = self._stream, dict[int, Packet]()
        try:
            # What an earlier request left is no answer to this one.
            self._port.reset_input_buffer()
            stream.clear()
            self._port.write(packet.encode())
            data = self._port.read(len(servos) * (FRAME_BYTES + size))
        except GONE as error:
            raise self._gone(error) from error
        damaged = stream.damaged
        for answer in stream.feed(data):
            if answer.servo in servos and len(answer.parameters) == size:
                found[answer.servo] = answer
        self.counts.reads += 1
        self.counts.answers += len(found)
        self.counts.damaged += stream.damaged - damaged
        return found

    def _gone(self, error: Exception) -> BusError:
        return BusError(f"{self.path}: the port is gone ({error}); plug the arm's USB cable in again")
