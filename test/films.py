# SPDX-License-Identifier: Apache-2.0
"""Films that stand in for cameras: moving pictures as JPEGs, as one file of them, and as mp4."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import simplejpeg


def jpegs(count: int, width: int = 64, height: int = 48) -> list[bytes]:
    """Make pictures that differ."""
    noise = np.random.default_rng(0).integers(0, 255, (count, height, width, 3), dtype=np.uint8)
    return [simplejpeg.encode_jpeg(picture, quality=80) for picture in noise]


def write_mjpeg(path: Path, pictures: list[bytes]) -> Path:
    """Write JPEGs one behind the other."""
    path.write_bytes(b"".join(pictures))
    return path


def write_mp4(path: Path, pictures: list[bytes], rate_hz: int, width: int = 64, height: int = 48) -> Path:
    """Write JPEGs as they are into an mp4, which has times of its own."""
    import av

    with av.open(str(path), "w") as film:
        stream = film.add_stream("mjpeg", rate=rate_hz)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        for k, picture in enumerate(pictures):
            packet = av.Packet(picture)
            packet.stream, packet.time_base = stream, Fraction(1, rate_hz)
            packet.pts = packet.dts = k
            film.mux(packet)
    return path
