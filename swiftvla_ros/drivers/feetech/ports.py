# SPDX-License-Identifier: Apache-2.0
"""Which serial ports there are, by paths that stay, and which have servos on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swiftvla_ros.drivers.feetech.bus import BusError, ServoBus, open_port
from swiftvla_ros.drivers.feetech.connection import scan

_BY_ID = Path("/dev/serial/by-id")


@dataclass(frozen=True)
class FoundPort:
    """A serial port: its path that stays, what it says of itself, the servos on it, and why it can't be asked."""

    path: str
    description: str
    servos: tuple[int, ...] = ()
    problem: str = ""


def find_ports() -> list[FoundPort]:
    """Ask every USB serial port of this machine for servos."""
    from serial.tools.list_ports import comports

    lasting = {str(link.resolve()): str(link) for link in _BY_ID.glob("*")} if _BY_ID.is_dir() else {}
    ports = [port for port in comports() if port.vid is not None]
    return [ask_port(lasting.get(port.device, port.device), str(port.description)) for port in ports]


def ask_port(path: str, description: str = "") -> FoundPort:
    """Ask one port for the servos on it."""
    try:
        bus = ServoBus(open_port(path), path)
        try:
            return FoundPort(path, description, tuple(scan(bus)))
        finally:
            bus.close()
    except BusError as error:
        return FoundPort(path, description, problem=str(error).removeprefix(f"{path}: "))
