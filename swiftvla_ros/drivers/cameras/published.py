# SPDX-License-Identifier: Apache-2.0
"""A frame as the contract's transport wants it: passed on as it is where possible, converted where not."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import simplejpeg

from swiftvla_ros.drivers.cameras.frames import CameraFrame
from swiftvla_ros.observation.image_decoding import decode_picture

# Above this a policy sees no difference.
_QUALITY = 92


def as_jpeg(frame: CameraFrame, data: bytes) -> bytes:
    """Return a frame's whole bytes ``data`` as a JPEG: its own, where it is one."""
    if frame.encoding == "jpeg":
        return data
    rgb = np.frombuffer(data, np.uint8).reshape(frame.height, frame.width, -1)
    if frame.encoding == "yuv422_yuy2":
        rgb = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_YUV2RGB_YUYV), np.uint8)
    return bytes(simplejpeg.encode_jpeg(rgb, quality=_QUALITY))


def as_pixels(frame: CameraFrame, data: bytes) -> tuple[bytes, Literal["rgb8", "yuv422_yuy2"]]:
    """Return a frame's whole bytes ``data`` as pixels, and their encoding in ``sensor_msgs/Image``.

    Those of a JPEG are decoded, and a damaged one is an ImageDecodingError.
    """
    if frame.encoding == "jpeg":
        return decode_picture(np.frombuffer(data, np.uint8)).tobytes(), "rgb8"
    return data, frame.encoding
