# SPDX-License-Identifier: Apache-2.0
"""What cameras cost this machine: JPEGs passed through, against decoding and encoding each of them.

Films of two cameras of 640×480 px are played at 30 Hz through ``usb_camera_node``'s own reader and published; the CPU
is that of the whole process, threads of the middleware included. What reading the films takes, a camera does not.
"""

from __future__ import annotations

import argparse
import array
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import rclpy
import simplejpeg
from sensor_msgs.msg import CompressedImage

from swiftvla_ros.cli.output import print_table
from swiftvla_ros.contract.sections.camera_driver import CameraDriver
from swiftvla_ros.drivers.cameras.frames import CameraFrame
from swiftvla_ros.drivers.cameras.reader import CameraReader
from swiftvla_ros.drivers.cameras.sources import source_of
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import header

_SIZE, _RATE_HZ, _QUALITY = (640, 480), 30.0, 90
_PICTURES = 60
_PULLS = 6


def write_film(path: Path) -> float:
    """Write pictures with the detail of a table seen by a webcam; returns the kB of one."""
    noise = np.random.default_rng(0).integers(0, 255, (_SIZE[1], _SIZE[0], 3), np.uint8)
    picture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    jpegs = [simplejpeg.encode_jpeg(np.ascontiguousarray(np.roll(picture, 7 * k, 1))) for k in range(_PICTURES)]
    path.write_bytes(b"".join(jpegs))
    return len(jpegs[0]) / 1e3


def again(data: bytes) -> bytes:
    """What a driver does that decodes and publishes through a compressing transport."""
    return simplejpeg.encode_jpeg(simplejpeg.decode_jpeg(data), quality=_QUALITY)


def measure(folder: Path, cameras: int, seconds: float, change: Callable[[bytes], bytes] | None) -> tuple[float, float]:
    """Play the films, publish nothing where None; returns the share of a core, and each camera's pictures a second."""
    node = rclpy.create_node("camera_passthrough")
    readers = []
    for k in range(cameras):
        publisher = node.create_publisher(CompressedImage, f"camera_{k}/compressed", qos.IMAGE)

        def publish(_frame: CameraFrame, data: bytes, stamp_ns: int, publisher=publisher) -> None:  # noqa: ANN001
            if change is None:
                return
            jpeg = array.array("B", change(data))
            publisher.publish(CompressedImage(header=header(stamp_ns), format="jpeg", data=jpeg))

        source = source_of(CameraDriver(film="film.mjpeg", repeat=True), folder, _SIZE, _RATE_HZ)
        readers.append(CameraReader(source, publish, lambda _: None, print))
    time.sleep(1.0)
    frames, cpu_s, begin_s = sum(r.counts.frames for r in readers), time.process_time(), time.perf_counter()
    time.sleep(seconds)
    cpu_s, took_s = time.process_time() - cpu_s, time.perf_counter() - begin_s
    frames = sum(r.counts.frames for r in readers) - frames
    for reader in readers:
        reader.end()
    node.destroy_node()
    return cpu_s / took_s, frames / took_s / cameras


def measure_pull(film: Path, times: int) -> tuple[list[float], list[float]]:
    """Pull a camera and plug it in again; returns the times until it is named, and until pictures come again, s."""
    told: list[tuple[float, str]] = []
    source = source_of(CameraDriver(film=film.name, repeat=True), film.parent, _SIZE, _RATE_HZ)
    reader = CameraReader(source, lambda *_: None, lambda problem: told.append((time.perf_counter(), problem)), print)
    named, back = [], []
    for k in range(times):
        while reader.problem:
            time.sleep(0.001)
        time.sleep(0.5 + 0.01 * k)
        told.clear()
        pulled_s = time.perf_counter()
        film.rename(film.with_suffix(".away"))
        time.sleep(1.0 + 0.5 * k)
        plugged_s = time.perf_counter()
        film.with_suffix(".away").rename(film)
        while reader.problem:
            time.sleep(0.001)
        named.append(told[0][0] - pulled_s)
        back.append(told[-1][0] - plugged_s)
    reader.end()
    return named, back


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", type=int, default=2, help="how many")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    options = parser.parse_args()
    # OpenCV and BLAS gain nothing from threads here.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rclpy.init()
    with tempfile.TemporaryDirectory() as folder:
        size_kb = write_film(Path(folder) / "film.mjpeg")
        films, films_hz = measure(Path(folder), options.cameras, options.seconds, None)
        through, through_hz = measure(Path(folder), options.cameras, options.seconds, lambda data: data)
        coded, coded_hz = measure(Path(folder), options.cameras, options.seconds, again)
        pulls = measure_pull(Path(folder) / "film.mjpeg", _PULLS)
    rclpy.shutdown()
    rows = [
        ["films read, nothing published", f"{100 * films:.1f} %", f"{films_hz:.1f}", ""],
        ["passed through, without the films", f"{100 * (through - films):.1f} %", f"{through_hz:.1f}", "1"],
        [
            "decoded and encoded, the same",
            f"{100 * (coded - films):.1f} %",
            f"{coded_hz:.1f}",
            f"{(coded - films) / max(through - films, 1e-4):.0f}",
        ],
    ]
    title = f"{options.cameras} × {_SIZE[0]}×{_SIZE[1]} at {_RATE_HZ:g} Hz, JPEGs of {size_kb:.0f} kB"
    print_table(["", "share of a core", "Hz of each", "ratio"], rows, title=title)
    rows = [
        [what, f"{1000 * np.median(times):.0f} ms", f"{1000 * max(times):.0f} ms"]
        for what, times in zip(("pulled, until it is named", "back, until pictures come"), pulls, strict=True)
    ]
    print_table(
        ["", "median", "longest"],
        rows,
        title=f"a camera that was pulled for 1 to {0.5 + 0.5 * _PULLS:g} s, {_PULLS} times",
    )


if __name__ == "__main__":
    main()
