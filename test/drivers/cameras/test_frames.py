# SPDX-License-Identifier: Apache-2.0
"""Whether a frame is whole, and when it was taken."""

import films
import numpy as np
import pytest

from swiftvla_ros.drivers.cameras.frames import CameraFrame, stamp_of, whole_frame, whole_jpeg
from swiftvla_ros.drivers.cameras.published import as_jpeg, as_pixels
from swiftvla_ros.observation.image_decoding import decode_picture

JPEG = films.jpegs(1)[0]
NOW_NS, DAY_NS = 5_000_000_000_000, 1_800_000_000_000_000_000


def without_huffman_tables(jpeg: bytes) -> bytes:
    """What many webcams send: the tables are those of the standard, and left out."""
    kept, at = jpeg[:2], 2
    while True:
        length = int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] != 0xC4:
            kept += jpeg[at : at + 2 + length]
        at += 2 + length
        if jpeg[at - 2 - length + 1] == 0xDA:
            return kept + jpeg[at:]


def test_a_whole_jpeg_is_passed_on_byte_for_byte() -> None:
    """Protects the pass-through: nothing is copied into another form, and zeros behind the end are cut off."""
    assert whole_jpeg(JPEG, 64, 48) is JPEG
    assert whole_jpeg(JPEG + bytes(512), 64, 48) == JPEG
    bare = without_huffman_tables(JPEG)
    assert len(bare) < len(JPEG)
    assert whole_jpeg(bare, 64, 48) is bare
    assert np.array_equal(decode_picture(np.frombuffer(bare, np.uint8)), decode_picture(np.frombuffer(JPEG, np.uint8)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "damaged"),
        (b"\0\0" + JPEG, "begins with 00 00 ff"),
        (JPEG[:-2], "its end is missing"),
        (JPEG[: len(JPEG) // 2], "its end is missing"),
        (JPEG + b"\x01\x02", "its end is missing"),
        (b"\xff\xd8\xff\xd9", "header is damaged"),
        (films.jpegs(1, 32, 48)[0], "32×48 px instead of 64×48"),
    ],
)
def test_a_damaged_jpeg_is_refused(data: bytes, said: str) -> None:
    """Protects the topic from halves of pictures: each is refused with what is wrong."""
    with pytest.raises(ValueError, match=said):
        whole_jpeg(data, 64, 48)


def test_pixels_have_their_number_of_bytes() -> None:
    """Protects from torn raw frames; raw pixels go out as they are, or as a JPEG of the same colours."""
    rgb = np.full((48, 64, 3), (200, 100, 50), np.uint8)
    y, u, v = 123, 91, 176  # of that colour, BT.601 with limited range: what webcams send
    yuyv = np.tile(np.array([y, u, y, v], np.uint8), 48 * 32).tobytes()
    frame = CameraFrame(yuyv, "yuv422_yuy2", 64, 48, None)
    assert whole_frame(frame) is yuyv
    assert as_pixels(frame, yuyv) == (yuyv, "yuv422_yuy2")
    shown = decode_picture(np.frombuffer(as_jpeg(frame, yuyv), np.uint8)).astype(int)
    assert np.abs(shown - rgb).max() <= 4
    with pytest.raises(ValueError, match="6143 bytes instead of 6144"):
        whole_frame(CameraFrame(yuyv[:-1], "yuv422_yuy2", 64, 48, None))


def test_a_jpeg_for_a_raw_topic_is_decoded() -> None:
    """Protects contracts with transport raw: they get the same pixels as a subscriber that decodes."""
    pixels, encoding = as_pixels(CameraFrame(JPEG, "jpeg", 64, 48, None), JPEG)
    assert encoding == "rgb8"
    assert pixels == decode_picture(np.frombuffer(JPEG, np.uint8)).tobytes()


@pytest.mark.parametrize(
    ("taken_ns", "age_ns", "by_driver"),
    [
        (NOW_NS - 20_000_000, 20_000_000, True),  # the kernel's monotonic clock
        (DAY_NS - 20_000_000, 20_000_000, True),  # that of the day, as uvcvideo clock=CLOCK_REALTIME
        (NOW_NS + 1_000_000, 0, True),  # read a moment before it was written
        (NOW_NS - 3_000_000_000, 0, False),
        (NOW_NS + 1_000_000_000, 0, False),
        (0, 0, False),
        (None, 0, False),
    ],
)
def test_a_stamp_is_the_drivers_if_it_can_be(taken_ns: int | None, age_ns: int, by_driver: bool) -> None:
    """Protects the pairing: the time of exposure where the kernel tells it, else that of arrival, and it is counted."""
    assert stamp_of(taken_ns, NOW_NS, DAY_NS) == (DAY_NS - age_ns, by_driver)
