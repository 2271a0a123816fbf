# SPDX-License-Identifier: Apache-2.0
"""An emulated bus on a pseudo-terminal: real bytes for the real driver, with faults to order.

It answers ping, read, write, sync read and sync write as servos do: nobody answers a broadcast but a sync read, each
servo ends its answer with a checksum, and one that is silent leaves a gap.
"""

from __future__ import annotations

import os
import random
import select
import threading
import time
import tty
from collections.abc import Mapping
from pathlib import Path

from swiftvla_ros.drivers.feetech.emulated_servo import EmulatedServo
from swiftvla_ros.drivers.feetech.protocol import BROADCAST, BusInstruction, Packet, PacketStream
from swiftvla_ros.drivers.feetech.registers import HOMING_OFFSET

_LOOK_S = 0.02
_BYTES = 4096
# 1 Mbit/s, ten bits to the byte; USB hands over once a millisecond, each way.
_BYTE_S, _USB_S = 10e-6, 1e-3


class EmulatedBus:
    """Servos behind a port at a fixed path: a link to a pseudo-terminal, which goes when the cable is pulled.

    A thread of its own answers. ``noise`` is the share of answers with a wrong checksum; with ``wire`` each exchange
    takes the time that it takes on a real bus; ``requests`` counts what came in.
    """

    def __init__(self, link: Path, servos: Mapping[str, EmulatedServo], *, wire: bool = False, seed: int = 0) -> None:
        self.link = link
        self.servos = dict(servos)
        self.noise = 0.0
        self.requests = 0
        self._wire = wire
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._ends: tuple[int, int] | None = None
        self._ending = False
        self._stream = PacketStream()
        self.plug()
        self._thread = threading.Thread(target=self._run, name=f"bus {link.name}", daemon=True)
        self._thread.start()

    @property
    def plugged(self) -> bool:
        """Whether the cable is in."""
        return self._ends is not None

    def plug(self) -> None:
        """Put the cable in: the port appears."""
        with self._lock:
            if self._ends is None:
                master, slave = os.openpty()
                tty.setraw(slave)
                self._stream.clear()
                self.link.parent.mkdir(parents=True, exist_ok=True)
                self.link.unlink(missing_ok=True)
                self.link.symlink_to(os.ttyname(slave))
                self._ends = master, slave

    def unplug(self) -> None:
        """Pull the cable: the port is gone, and whoever has it open is told so by the kernel."""
        with self._lock:
            if self._ends is not None:
                self.link.unlink(missing_ok=True)
                for end in self._ends:
                    os.close(end)
                self._ends = None

    def push(self, positions: Mapping[str, float]) -> None:
        """Turn shafts by hand, to ticks that the servos report."""
        with self._lock:
            for name, ticks in positions.items():
                servo = self.servos[name]
                servo.advance(time.monotonic())
                servo.push(ticks + servo.get(HOMING_OFFSET))

    def close(self) -> None:
        """End the thread, and take the port away."""
        self._ending = True
        self._thread.join()
        self.unplug()

    def _run(self) -> None:
        while not self._ending:
            with self._lock:
                master = self._ends[0] if self._ends else -1
            if master < 0:
                time.sleep(0.01)
                continue
            try:
                if not select.select([master], [], [], _LOOK_S)[0]:
                    continue
                with self._lock:
                    if self._ends and self._ends[0] == master:
                        self._serve(master)
            except (OSError, ValueError):
                # The cable was pulled between two calls.
                continue

    def _serve(self, master: int) -> None:
        data = os.read(master, _BYTES)
        if self._wire:
            time.sleep(_BYTE_S * len(data) + _USB_S)
        for packet in self._stream.feed(data):
            self.requests += 1
            answer = b"".join(map(self._damaged, self._answers(packet)))
            if answer and self._wire:
                time.sleep(_BYTE_S * len(answer) + _USB_S)
            if answer:
                os.write(master, answer)

    def _damaged(self, answer: Packet) -> bytes:
        data = answer.encode()
        if self.noise and self._random.random() < self.noise:
            data = data[:-1] + bytes((data[-1] ^ 1 << self._random.randrange(8),))
        return data

    def _answers(self, packet: Packet) -> list[Packet]:
        """What the servos answer, one after the other."""
        now_s, parameters = time.monotonic(), packet.parameters
        by_number = {servo.number: servo for servo in self.servos.values() if not servo.faults.silent}
        if packet.code == BusInstruction.SYNC_READ and len(parameters) > 2:
            address, size, *numbers = parameters
            asked = [(number, by_number[number]) for number in numbers if number in by_number]
            return [Packet(number, servo.flags, servo.read(address, size, now_s)) for number, servo in asked]
        if packet.code == BusInstruction.SYNC_WRITE and len(parameters) > 2:
            address, size = parameters[:2]
            for at in range(2, len(parameters) - size, size + 1):
                if servo := by_number.get(parameters[at]):
                    servo.write(address, parameters[at + 1 : at + 1 + size], now_s)
            return []
        servo = by_number.get(packet.servo)
        if servo is None or packet.servo == BROADCAST:
            return []
        if packet.code == BusInstruction.PING:
            return [Packet(packet.servo, servo.flags)]
        if packet.code == BusInstruction.READ and len(parameters) == 2:
            return [Packet(packet.servo, servo.flags, servo.read(parameters[0], parameters[1], now_s))]
        if packet.code == BusInstruction.WRITE and parameters:
            servo.write(parameters[0], parameters[1:], now_s)
            return [Packet(packet.servo, servo.flags)]
        return []
