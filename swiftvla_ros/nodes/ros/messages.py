# SPDX-License-Identifier: Apache-2.0
"""Between ROS messages and arrays: the one module that knows cv_bridge, or does without it.

Where ``cv_bridge`` is installed (a ROS machine) it converts encodings; PyPI has none for ROS 2, so ``rosbags-image``
does it there.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Duration, Time
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

_NS = 1_000_000_000
# Encodings that name no colour but are used for one all the same.
_ALIASES = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8"}
_HALF_HEIGHT_CHROMA = ("nv12", "nv21")


class ImageMessageError(ValueError):
    """An image message that can't be used; the text says what was sent."""


def stamp_ns(stamp: Time) -> int:
    """A message's time as integer ns."""
    return int(stamp.sec) * _NS + int(stamp.nanosec)


def to_time(ns: int) -> Time:
    """Integer ns as a message's time."""
    return Time(sec=ns // _NS, nanosec=ns % _NS)


def to_duration(ns: int) -> Duration:
    """Integer ns as a message's duration."""
    return Duration(sec=ns // _NS, nanosec=ns % _NS)


def header(ns: int, frame_id: str = "") -> Header:
    """A header with a stamp."""
    return Header(stamp=to_time(ns), frame_id=frame_id)


def doubles(values: NDArray[np.float64]) -> array.array[float]:
    """Numbers for a float64[] field, which takes an array.array over as it is and a list number by number."""
    return array.array("d", np.ascontiguousarray(values, dtype=np.float64).tobytes())


def counts(values: NDArray[np.int64]) -> array.array[int]:
    """Numbers >= 0 for a uint64[] field."""
    return array.array("Q", np.ascontiguousarray(values, dtype=np.uint64).tobytes())


def rgb_message(rgb: NDArray[np.uint8], ns: int, frame_id: str) -> Image:
    """RGB uint8 [H, W, 3] as an image message."""
    message = Image(header=header(ns, frame_id), height=rgb.shape[0], width=rgb.shape[1], encoding="rgb8")
    message.step = 3 * rgb.shape[1]
    # array.array is taken over as it is (0.1 ms for 640×480); assigning a numpy array costs 60 ms, element by element.
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(rgb).reshape(-1).data)
    message.data = data
    return message


def rgb_image(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """Any common encoding, with or without row padding, as RGB uint8 [H, W, 3].

    Raises
    ------
    ImageMessageError
        Fewer bytes than the message claims, an encoding that has no colour (depth, say), or broken compressed data.
    """
    if isinstance(message, CompressedImage):
        decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR) if len(message.data) else None
        if decoded is None:
            raise ImageMessageError(f"compressed image of format '{message.format}' can't be decoded")
        return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    encoding = _ALIASES.get(message.encoding, message.encoding)
    rows = message.height * 3 // 2 if encoding in _HALF_HEIGHT_CHROMA else message.height
    data = np.frombuffer(message.data, np.uint8)
    if message.step <= 0 or rows <= 0 or data.size < rows * message.step:
        raise ImageMessageError(
            f"{data.size} bytes, but height {message.height} and step {message.step} need {rows * message.step}"
        )
    padded = data[: rows * message.step].reshape(rows, message.step)
    if encoding == "rgb8" and message.step >= 3 * message.width:
        return padded[:, : 3 * message.width].reshape(message.height, message.width, 3)
    message.encoding = encoding
    try:
        return _convert(padded, message)
    except (ImageConversionError, cv2.error, TypeError) as error:
        raise ImageMessageError(f"encoding '{message.encoding}' can't be shown as colour: {error}") from error


def conditioned_image(message: Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The RGB pixels [h, w, 3] of a conditioned camera's message; ``size`` is the contract's (w, h).

    Raises
    ------
    ImageMessageError
        Another encoding or size, or data that does not fit them.
    """
    if message.encoding != "rgb8" or (message.width, message.height) != size:
        got = f"{message.encoding} {message.width}×{message.height}"
        raise ImageMessageError(f"got {got}, expected rgb8 {size[0]}×{size[1]}")
    return rgb_image(message)


def _convert_with_rosbags(rows: NDArray[np.uint8], message: Image) -> NDArray[np.uint8]:
    """Rows of bytes [rows, step] of any encoding as RGB."""
    bits, _, kind, channels = to_cvtype(message.encoding)
    row_bytes = message.width * channels * bits // 8
    if message.step < row_bytes:
        raise ImageMessageError(f"step {message.step} is less than a row of {row_bytes} bytes of '{message.encoding}'")
    pixels: NDArray[Any] = np.ascontiguousarray(rows[:, :row_bytes]).view(kind)
    if bool(message.is_bigendian) != (sys.byteorder == "big"):
        pixels = pixels.byteswap()
    shape = (rows.shape[0], message.width) if channels == 1 else (rows.shape[0], message.width, channels)
    return np.asarray(convert_color(pixels.reshape(shape), message.encoding, "rgb8"), np.uint8)


def _convert_with_cv_bridge(_rows: NDArray[np.uint8], message: Image) -> NDArray[np.uint8]:
    """The same through cv_bridge, which reads ``step`` and byte order itself."""
    return np.asarray(CvBridge().imgmsg_to_cv2(message, "rgb8"), np.uint8)


_convert: Callable[[NDArray[np.uint8], Image], NDArray[np.uint8]]
try:
    from cv_bridge import CvBridge
    from cv_bridge import CvBridgeError as ImageConversionError

    _convert = _convert_with_cv_bridge
except ImportError:
    from rosbags.image.image import ImageError as ImageConversionError
    from rosbags.image.image import convert_color, to_cvtype

    _convert = _convert_with_rosbags
