# SPDX-License-Identifier: Apache-2.0
"""Cameras read for some seconds, all at once, as when the robot runs: what comes, how evenly, and one picture each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from swiftvla_ros.contract.sections.camera_driver import CameraDriver
from swiftvla_ros.drivers.cameras.devices import CameraDevice
from swiftvla_ros.drivers.cameras.frames import CameraFrame
from swiftvla_ros.drivers.cameras.health import CameraHealth, camera_health
from swiftvla_ros.drivers.cameras.published import as_jpeg
from swiftvla_ros.drivers.cameras.reader import OPENING, CameraReader
from swiftvla_ros.drivers.cameras.sources import CameraSource, source_of

# Cameras open within a second; then each is given the whole time.
_OPEN_S = 5.0
_LOOK_S = 0.05
_USUAL_SIZE, _USUAL_HZ = (640, 480), 30.0


@dataclass(frozen=True)
class TriedCamera:
    """What is to be read, and how much is expected of it."""

    source: CameraSource
    size: tuple[int, int]
    rate_hz: float


@dataclass(frozen=True)
class CameraTrial:
    """What came of a camera.

    Parameters
    ----------
    health
        Losses, and the sentence on them.
    rate_hz, expected_hz
        Pictures a second: what came, and what was asked for.
    longest_gap_s
        The longest time between two pictures, by their stamps.
    bytes_per_s
        What it sends.
    jpeg
        Its last picture; None where none came.
    """

    health: CameraHealth
    rate_hz: float
    expected_hz: float
    longest_gap_s: float
    bytes_per_s: float
    jpeg: bytes | None


@dataclass
class _Seen:
    stamps_ns: list[int] = field(default_factory=list)
    sent: int = 0
    last: tuple[CameraFrame, bytes] | None = None

    def take(self, frame: CameraFrame, data: bytes, stamp_ns: int) -> None:
        self.stamps_ns.append(stamp_ns)
        self.sent += len(data)
        self.last = frame, data


def from_entry(driver: CameraDriver, folder: Path, size: tuple[int, int], rate_hz: float) -> TriedCamera:
    """Try what a contract's entry names; a film is relative to ``folder``."""
    return TriedCamera(source_of(driver, folder, size, rate_hz), size, rate_hz)


def from_device(device: CameraDevice) -> TriedCamera:
    """Try a device in a usual mode: JPEGs of 640×480 px at 30 Hz, or what comes nearest."""
    jpegs = [mode for mode in device.modes if mode.format == "MJPG"]
    usable = jpegs or [mode for mode in device.modes if mode.format == "YUYV"]
    pixels = _USUAL_SIZE[0] * _USUAL_SIZE[1]
    best = min(usable, key=lambda mode: abs(mode.width * mode.height - pixels), default=None)
    size = (best.width, best.height) if best else _USUAL_SIZE
    rates = best.rates_hz if best else ()
    rate_hz = min(rates, key=lambda hz: abs(hz - _USUAL_HZ), default=_USUAL_HZ)
    driver = CameraDriver(device=str(device.path), format="yuyv" if usable and not jpegs else "mjpeg")
    return from_entry(driver, Path(), size, rate_hz)


def try_cameras(cameras: Mapping[str, TriedCamera], seconds: float) -> dict[str, CameraTrial]:
    """Read all cameras at once for some seconds; one that can't be read says why."""
    seen = {name: _Seen() for name in cameras}
    failures: list[Exception] = []
    readers = {
        name: CameraReader(each.source, seen[name].take, lambda _: None, failures.append)
        for name, each in cameras.items()
    }
    until_s = time.monotonic() + _OPEN_S
    while any(reader.problem == OPENING for reader in readers.values()) and time.monotonic() < until_s:
        time.sleep(_LOOK_S)
    begun_s = time.monotonic()
    before = {name: reader.counts for name, reader in readers.items()}
    first = {name: (len(each.stamps_ns), each.sent) for name, each in seen.items()}
    time.sleep(seconds)
    tried = {}
    for name, reader in readers.items():
        now_s, counts = time.monotonic(), reader.counts
        rate_hz, (frames, sent) = cameras[name].rate_hz, first[name]
        health = camera_health(
            before[name], counts, now_s - begun_s, rate_hz, reader.problem, reader.notes, reader.silent_s
        )
        stamps_ns, last = seen[name].stamps_ns[frames:], seen[name].last
        gap_ns = max((later - earlier for earlier, later in pairwise(stamps_ns)), default=0)
        took_s = now_s - begun_s
        tried[name] = CameraTrial(
            health,
            len(stamps_ns) / took_s,
            rate_hz,
            gap_ns / 1e9,
            (seen[name].sent - sent) / took_s,
            as_jpeg(*last) if last else None,
        )
    for reader in readers.values():
        reader.end()
    if failures:
        raise failures[0]
    return tried
