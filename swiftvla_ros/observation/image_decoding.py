# SPDX-License-Identifier: Apache-2.0
"""Image messages as RGB, the same for one that just arrived and for one read from a bag, and RGB as JPEG.

It reads a message's fields and writes none, so it needs no ROS. ``cv_bridge`` converts the same encodings, but a bag
must also be read where that is not installed, and by the very conversion that the running system used.
"""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.image.image import ImageError, convert_color, to_cvtype

from swiftvla_ros.errors import UserError

# Encodings that name no colour but are used for one all the same.
_ALIASES = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8"}
_HALF_HEIGHT_CHROMA = ("nv12", "nv21")
# Wider or higher than any camera's.
_LARGEST_SIDE = 16384


class ImageDecodingError(UserError, ValueError):
    """An image message that can't be used; the text says what was sent."""


def compressed_topic(topic: str) -> str:
    """Name the topic of a raw image topic's JPEGs, as ``image_transport`` does."""
    return f"{topic}/compressed"


def rgb_of(message: Any) -> NDArray[np.uint8]:
    """Return an ``Image`` of any common encoding, or a ``CompressedImage``, as RGB uint8 [H, W, 3].

    It may show the message's own bytes, without a copy.

    Raises
    ------
    ImageDecodingError
        Fewer bytes than the message claims, an encoding that has no colour (depth, say), or broken compressed data.
    """
    data = np.frombuffer(message.data, np.uint8)
    if hasattr(message, "format"):
        return decode_picture(data, f"a compressed image of format '{message.format}'")
    encoding = _ALIASES.get(message.encoding, message.encoding)
    height, width, step = message.height, message.width, message.step
    rows = height * 3 // 2 if encoding in _HALF_HEIGHT_CHROMA else height
    if not (0 < height <= _LARGEST_SIDE and 0 < width <= _LARGEST_SIDE) or data.size < rows * step:
        raise ImageDecodingError(f"{data.size} bytes are no image of {width}×{height} with {rows} rows of {step} bytes")
    try:
        bits, _, kind, channels = to_cvtype(encoding)
        row_bytes = width * channels * bits // 8
        if step < row_bytes:
            raise ImageDecodingError(f"step {step} is less than a row of {row_bytes} bytes of '{message.encoding}'")
        pixels: NDArray[Any] = np.ascontiguousarray(data[: rows * step].reshape(rows, step)[:, :row_bytes]).view(kind)
        if bool(message.is_bigendian) != (sys.byteorder == "big"):
            pixels = pixels.byteswap()
        shaped = pixels.reshape((rows, width) if channels == 1 else (rows, width, channels))
        return np.asarray(convert_color(shaped, encoding, "rgb8"), np.uint8)
    except (ImageError, cv2.error, TypeError) as error:
        raise ImageDecodingError(f"encoding '{message.encoding}' can't be shown as colour: {error}") from error


def conditioned_image(message: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the RGB pixels [h, w, 3] of a conditioned camera's message; ``size`` is the contract's (w, h).

    Another encoding or size is an ImageDecodingError, too.
    """
    expected = f"expected rgb8 {size[0]}×{size[1]}"
    if not hasattr(message, "format") and message.encoding != "rgb8":
        raise ImageDecodingError(f"got {message.encoding} {message.width}×{message.height}, {expected}")
    image = rgb_of(message)
    height, width = image.shape[:2]
    if (width, height) != size:
        raise ImageDecodingError(f"got {width}×{height}, {expected}")
    return image


def jpeg_of(rgb: NDArray[np.uint8], quality: int) -> bytes:
    """Return RGB uint8 [H, W, 3] as a JPEG; 88 to 95 keeps what a policy sees nearly unchanged."""
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return jpeg.tobytes()


def decode_picture(data: NDArray[np.uint8], named: str = "an image") -> NDArray[np.uint8]:
    """Return an encoded picture as RGB uint8 [H, W, 3]; raises ImageDecodingError, which calls it ``named``."""
    try:
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:
        # It claims more pixels than OpenCV gives memory for.
        decoded = None
    if decoded is None:
        raise ImageDecodingError(f"{named} can't be decoded")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
