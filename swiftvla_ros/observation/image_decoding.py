# SPDX-License-Identifier: Apache-2.0
"""Images in bags: raw ones replay bit for bit, JPEG takes a tenth of the space."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.image.image import ImageError, message_to_cvimage

# Wider or higher than any camera's.
_LARGEST_SIDE = 16384


def compressed_topic(topic: str) -> str:
    """Name the topic of a raw image topic's JPEGs, as ``image_transport`` does."""
    return f"{topic}/compressed"


def rgb_of(message: Any) -> NDArray[np.uint8]:
    """Return an ``Image`` or ``CompressedImage`` read from a bag as RGB uint8 [H, W, 3].

    Raises
    ------
    ValueError
        Fewer bytes than it claims, broken data, or an encoding without colour.
    """
    if hasattr(message, "format"):
        decoded = cv2.imdecode(np.asarray(message.data), cv2.IMREAD_COLOR) if len(message.data) else None
        if decoded is None:
            raise ValueError(f"a compressed image of format '{message.format}' can't be decoded")
        return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    height, width, step = message.height, message.width, message.step
    if not (0 < height <= _LARGEST_SIDE and 0 < width <= _LARGEST_SIDE) or len(message.data) < height * step:
        raise ValueError(f"{len(message.data)} bytes are no image of {width}×{height} with rows of {step} bytes")
    if message.encoding == "rgb8" and step >= 3 * width:
        rows = np.asarray(message.data)[: height * step].reshape(height, step)
        return np.ascontiguousarray(rows[:, : 3 * width]).reshape(height, width, 3)
    try:
        return np.asarray(message_to_cvimage(message, "rgb8"), np.uint8)
    except (ImageError, cv2.error, TypeError) as error:
        raise ValueError(f"encoding '{message.encoding}' can't be shown as colour: {error}") from error


def jpeg_of(rgb: NDArray[np.uint8], quality: int) -> bytes:
    """Return RGB uint8 [H, W, 3] as a JPEG; 88 to 95 keeps what a policy sees nearly unchanged."""
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return jpeg.tobytes()
