# SPDX-License-Identifier: Apache-2.0
"""Image messages of every kind, as arrays."""

from __future__ import annotations

import array
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")

from sensor_msgs.msg import CompressedImage, Image

from swiftvla_ros.nodes.ros.messages import ImageMessageError, rgb_image, rgb_message, stamp_ns

WIDTH, HEIGHT = 64, 48
RED, GREEN, BLUE = (200, 30, 20), (25, 190, 40), (15, 35, 210)


def picture() -> NDArray[np.uint8]:
    """Three plain stripes: no encoding may mix them up."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for k, color in enumerate((RED, GREEN, BLUE)):
        image[:, k * WIDTH // 3 : (k + 1) * WIDTH // 3 + 1] = color
    return image


def message(encoding: str, pixels: NDArray[Any], padding: int = 0, big: bool = False) -> Image:
    """Rows of pixels as a message, every row followed by ``padding`` bytes of rubbish."""
    pixels = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<"))
    rows = np.frombuffer(pixels.tobytes(), np.uint8).reshape(pixels.shape[0], -1)
    rows = np.hstack([rows, np.full((len(rows), padding), 255, np.uint8)])
    out = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=rows.shape[1], is_bigendian=int(big))
    out.data = array.array("B", rows.tobytes())
    return out


def encoded(encoding: str) -> NDArray[Any]:
    """Encode the picture as a driver would."""
    rgb = picture()
    if encoding == "rgb8":
        return rgb
    if encoding in ("bgr8", "8UC3"):
        return rgb[..., ::-1].copy()
    if encoding in ("rgba8", "bgra8", "8UC4"):
        alpha = np.full((HEIGHT, WIDTH, 1), 7, np.uint8)
        return np.concatenate([rgb if encoding == "rgba8" else rgb[..., ::-1], alpha], axis=2)
    if encoding in ("rgb16", "bgr16"):
        return (rgb if encoding == "rgb16" else rgb[..., ::-1]).astype(np.uint16) * 257
    if encoding in ("mono8", "8UC1"):
        return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    if encoding == "mono16":
        return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257
    if encoding in ("yuv422", "yuv422_yuy2"):
        # ITU-R BT.601 with the range of video, as cameras send it.
        to_yuv = np.array([[0.257, 0.504, 0.098], [-0.148, -0.291, 0.439], [0.439, -0.368, -0.071]])
        yuv = np.clip(np.round(rgb @ to_yuv.T + (16, 128, 128)), 0, 255).astype(np.uint8)
        luma, chroma = yuv[..., 0], np.where(np.arange(WIDTH) % 2 == 0, yuv[..., 1], yuv[..., 2])
        return np.stack([chroma, luma] if encoding == "yuv422" else [luma, chroma], axis=-1)
    if encoding == "bayer_rggb8":
        mosaic = np.empty((HEIGHT, WIDTH), np.uint8)
        mosaic[0::2, 0::2], mosaic[0::2, 1::2] = rgb[0::2, 0::2, 0], rgb[0::2, 1::2, 1]
        mosaic[1::2, 0::2], mosaic[1::2, 1::2] = rgb[1::2, 0::2, 1], rgb[1::2, 1::2, 2]
        return mosaic
    raise AssertionError(encoding)


GRAY = ("mono8", "8UC1", "mono16")
ENCODINGS = (
    "rgb8", "bgr8", "8UC3", "rgba8", "bgra8", "8UC4", "rgb16", "bgr16", *GRAY, "yuv422", "yuv422_yuy2", "bayer_rggb8",
)  # fmt: skip


@pytest.mark.parametrize("padding", [0, 10])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_common_encoding_shows_the_same_picture(encoding: str, padding: int) -> None:
    """No encoding swaps channels, and row padding is not read as pixels."""
    rgb = rgb_image(message(encoding, encoded(encoding), padding * encoded(encoding).itemsize))
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    assert rgb.dtype == np.uint8
    # The middle of every stripe: chroma subsampling and the mosaic blur the edges.
    for k, color in enumerate((RED, GREEN, BLUE)):
        middle = rgb[HEIGHT // 2, k * WIDTH // 3 + WIDTH // 6].astype(int)
        expected = [round(np.dot(color, (0.299, 0.587, 0.114)))] * 3 if encoding in GRAY else color
        assert np.abs(middle - expected).max() <= 6, (encoding, middle, expected)


def test_big_endian_16_bit() -> None:
    """Byte order is read from the message."""
    rgb = rgb_image(message("rgb16", encoded("rgb16"), big=True))
    np.testing.assert_array_equal(rgb, picture())


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_compressed(kind: str) -> None:
    """Compressed images come out as RGB, not BGR."""
    data = cv2.imencode(kind, picture()[..., ::-1])[1].tobytes()
    rgb = rgb_image(CompressedImage(format=kind[1:], data=array.array("B", data)))
    assert np.abs(rgb[HEIGHT // 2, WIDTH // 6].astype(int) - RED).max() <= 6


def test_what_can_not_be_read_says_why() -> None:
    """Depth, unknown encodings, short data and broken compression are refused with a reason, not shown as noise."""
    with pytest.raises(ImageMessageError, match="16UC1"):
        rgb_image(message("16UC1", encoded("mono16")))
    with pytest.raises(ImageMessageError, match="nonsense"):
        rgb_image(message("nonsense", encoded("rgb8")))
    short = message("rgb8", encoded("rgb8"))
    short.data = short.data[:-1]
    with pytest.raises(ImageMessageError, match="bytes"):
        rgb_image(short)
    narrow = message("bgr8", encoded("bgr8"))
    narrow.step -= 1
    with pytest.raises(ImageMessageError, match="step"):
        rgb_image(narrow)
    with pytest.raises(ImageMessageError, match="can't be decoded"):
        rgb_image(CompressedImage(format="jpeg", data=array.array("B", b"not a jpeg")))


def test_round_trip_keeps_pixels_stamp_and_frame() -> None:
    """What is published is what was computed, with the sensor's stamp."""
    out = rgb_message(picture(), 1_234_567_890_123, "front_optical_frame")
    np.testing.assert_array_equal(rgb_image(out), picture())
    assert stamp_ns(out.header.stamp) == 1_234_567_890_123
    assert out.header.frame_id == "front_optical_frame"
