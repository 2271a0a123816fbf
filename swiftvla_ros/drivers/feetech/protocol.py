# SPDX-License-Identifier: Apache-2.0
"""Packets of the Feetech bus: made, and found again in a stream of bytes.

A packet is ``FF FF id length code parameters… checksum``: ``length`` counts what follows it, the checksum is the
inverted sum of everything from the id on. ``code`` is an instruction on the way to a servo, and the servo's error flags
on the way back. (Feetech, "Communication Protocol User Manual"; the same frame as Dynamixel's protocol 1.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag

BROADCAST = 0xFE
HEADER = b"\xff\xff"
# Of the sync read's answer: header, id, length, flags, checksum.
FRAME_BYTES = 6
# Long enough for a sync write to all the servos of two arms; what claims to be longer is noise.
_LONGEST = 250


class BusInstruction(IntEnum):
    """What a packet asks a servo to do."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83


class ErrorFlag(IntFlag):
    """What a servo says of itself in every answer, and in its register 65."""

    VOLTAGE = 0x01
    SENSOR = 0x02
    HOT = 0x04
    CURRENT = 0x08
    OVERLOAD = 0x20


@dataclass(frozen=True)
class Packet:
    """One packet: ``code`` is an instruction, or the flags of an answer."""

    servo: int
    code: int
    parameters: bytes = b""

    def encode(self) -> bytes:
        """Return the bytes on the wire."""
        body = bytes((self.servo, len(self.parameters) + 2, self.code)) + self.parameters
        return HEADER + body + bytes((checksum(body),))


def checksum(body: bytes) -> int:
    """Return the last byte of a packet whose bytes from the id on are ``body``."""
    return ~sum(body) & 0xFF


def sync_read(address: int, size: int, servos: tuple[int, ...]) -> Packet:
    """Ask several servos for the same registers; they answer one after the other."""
    return Packet(BROADCAST, BusInstruction.SYNC_READ, bytes((address, size, *servos)))


def sync_write(address: int, size: int, data: Mapping[int, bytes]) -> Packet:
    """Write ``size`` bytes to each of several servos; nobody answers."""
    rows = b"".join(bytes((servo,)) + row for servo, row in data.items())
    return Packet(BROADCAST, BusInstruction.SYNC_WRITE, bytes((address, size)) + rows)


class PacketStream:
    """Finds packets in bytes as they come, whatever lies between them.

    Attributes
    ----------
    damaged
        How many packets had a wrong checksum, or an impossible length.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.damaged = 0

    def clear(self) -> None:
        """Forget bytes of which no packet was made."""
        self._bytes.clear()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Take bytes; yield the packets that are complete.

        After a damaged packet the search goes on at its second byte: what it swallowed may hold a good one.
        """
        buffer = self._bytes
        buffer += data
        while True:
            start = buffer.find(HEADER)
            if start < 0:
                # The last byte may be the first of a header.
                del buffer[: len(buffer) - (1 if buffer.endswith(b"\xff") else 0)]
                return
            # The header is the last two of a run of FF: an id is never FF.
            while buffer[start + 2 : start + 3] == b"\xff":
                start += 1
            del buffer[:start]
            if len(buffer) < 4:
                return
            length = buffer[3]
            if not 2 <= length <= _LONGEST:
                self.damaged += 1
                del buffer[:2]
                continue
            if len(buffer) < 4 + length:
                return
            body = bytes(buffer[2 : 3 + length])
            if checksum(body) != buffer[3 + length]:
                self.damaged += 1
                del buffer[:2]
                continue
            del buffer[: 4 + length]
            yield Packet(body[0], body[2], body[3:])
