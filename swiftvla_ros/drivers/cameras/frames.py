# SPDX-License-Identifier: Apache-2.0
"""One picture as a camera sent it: whether it is whole, and when it was taken."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import simplejpeg

from swiftvla_ros.errors import UserError

FrameEncoding = Literal["jpeg", "yuv422_yuy2", "rgb8"]

_NS = 1_000_000_000
_FIRST, _LAST = b"\xff\xd8\xff", b"\xff\xd9"
_YUYV_BYTES = 2
# A frame that waits in the driver's queue is younger; what is older, or from the future, is of another clock.
_OLDEST_NS = 2 * _NS
_AHEAD_NS = 5_000_000
# Two clocks are read as one unless the machine does something else in between.
_AS_ONE_NS, _TRIES = 20_000, 3


class CameraError(UserError, OSError):
    """A camera that can't be opened or is gone; the text names it, and the fix."""


class FilmEndedError(CameraError):
    """A film that is over, and is not to be repeated."""


@dataclass(frozen=True)
class CameraFrame:
    """One picture of a camera, not decoded.

    Parameters
    ----------
    data
        A JPEG, or the pixels of ``encoding`` row by row.
    encoding
        As in ``sensor_msgs/Image``, ``jpeg`` aside.
    width, height
        In px; of a JPEG what the camera promised.
    taken_ns
        The driver's time of the buffer, by the kernel's monotonic clock as a rule; None where it gave none.
    """

    data: bytes
    encoding: FrameEncoding
    width: int
    height: int
    taken_ns: int | None


def whole_jpeg(data: bytes, width: int, height: int) -> bytes:
    """Return a JPEG up to its end marker: cheap cameras fill the rest of their buffer with zeros.

    Only what costs microseconds is looked at: begin, end and size. Damage between them is found by whoever decodes it.

    Raises
    ------
    ValueError
        It is empty, lacks its begin or end, or has another size than [width, height] px.
    """
    if not data:
        raise ValueError("the driver flagged it as damaged (USB packets were lost), or it is empty")
    if not data.startswith(_FIRST):
        raise ValueError(f"it begins with {data[:3].hex(' ')}, not as a JPEG")
    end = data.rfind(_LAST)
    if end < 0 or data[end + len(_LAST) :].strip(b"\0"):
        raise ValueError(f"its end is missing after {len(data)} bytes")
    try:
        rows, columns, *_ = simplejpeg.decode_jpeg_header(data, strict=False)
    except ValueError as error:
        raise ValueError(f"its header is damaged ({error})") from error
    if (columns, rows) != (width, height):
        raise ValueError(f"it has {columns}×{rows} px instead of {width}×{height}")
    return data if end + len(_LAST) == len(data) else data[: end + len(_LAST)]


def whole_frame(frame: CameraFrame) -> bytes:
    """Return the bytes of a frame that is whole; ValueError says what is wrong with another."""
    if frame.encoding == "jpeg":
        return whole_jpeg(frame.data, frame.width, frame.height)
    expected = frame.width * frame.height * (_YUYV_BYTES if frame.encoding == "yuv422_yuy2" else 3)
    if len(frame.data) != expected:
        raise ValueError(f"it has {len(frame.data)} bytes instead of {expected}")
    return frame.data


def both_clocks() -> tuple[int, int]:
    """Return now by the monotonic clock and by that of the day, ns, read with nothing in between where possible."""
    for _ in range(_TRIES):
        before_ns, day_ns, after_ns = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if after_ns - before_ns < _AS_ONE_NS:
            break
    return (before_ns + after_ns) // 2, day_ns


def stamp_of(taken_ns: int | None, monotonic_ns: int, realtime_ns: int) -> tuple[int, bool]:
    """Return when a picture was taken, ns since 1970, and whether that is the driver's own time.

    The driver's clock is the kernel's monotonic one, or with some drivers that of the day. The difference of the two is
    taken afresh for each picture, ``monotonic_ns`` and ``realtime_ns`` being now: the clock of the day is corrected
    while a camera runs. A time that is neither's is not believed: the picture was taken now, then.
    """
    for now_ns in (monotonic_ns, realtime_ns) if taken_ns else ():
        age_ns = now_ns - (taken_ns or 0)
        if -_AHEAD_NS <= age_ns <= _OLDEST_NS:
            return realtime_ns - max(age_ns, 0), True
    return realtime_ns, False
