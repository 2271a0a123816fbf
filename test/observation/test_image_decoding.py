# SPDX-License-Identifier: Apache-2.0
"""Image messages of every kind, as arrays: the same for one that just arrived and for one read from a bag."""

import io
import re
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rosbags.typesys import Stores, get_typestore

from swiftvla_ros.observation.image_decoding import ImageDecodingError, conditioned_image, rgb_of

WIDTH, HEIGHT = 64, 48
RED, GREEN, BLUE = (200, 30, 20), (25, 190, 40), (15, 35, 210)
STORE = get_typestore(Stores.ROS2_JAZZY)
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


def header() -> Any:
    """Return a header without a time."""
    return STORE.types["std_msgs/msg/Header"](STORE.types["builtin_interfaces/msg/Time"](0, 0), "")


def picture() -> NDArray[np.uint8]:
    """Three plain stripes: no encoding may mix them up."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for k, color in enumerate((RED, GREEN, BLUE)):
        image[:, k * WIDTH // 3 : (k + 1) * WIDTH // 3 + 1] = color
    return image


def message(encoding: str, padding: int = 0, big: bool = False) -> Any:
    """Return the picture as a message of a bag, every row followed by ``padding`` pixels' bytes of rubbish."""
    pixels = encoded(encoding)
    padding *= pixels.itemsize
    pixels = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<"))
    rows = np.frombuffer(pixels.tobytes(), np.uint8).reshape(pixels.shape[0], -1)
    rows = np.hstack([rows, np.full((len(rows), padding), 255, np.uint8)])
    return STORE.types[IMAGE](header(), HEIGHT, WIDTH, encoding, int(big), rows.shape[1], rows.ravel())


def compressed(kind: str, data: bytes) -> Any:
    """Return a compressed image of a bag."""
    return STORE.types[COMPRESSED](header(), kind, np.frombuffer(data, np.uint8))


def encoded(encoding: str) -> NDArray[Any]:
    """Encode the picture as a driver would."""
    rgb = picture()
    if encoding == "rgb8":
        return rgb
    if encoding in ("bgr8", "8UC3"):
        return rgb[..., ::-1].copy()
    if encoding in ("rgba8", "bgra8", "8UC4", "rgba16", "bgra16"):
        alpha = np.full((HEIGHT, WIDTH, 1), 7, np.uint8)
        pixels = np.concatenate([rgb if encoding.startswith("rgba") else rgb[..., ::-1], alpha], axis=2)
        return pixels.astype(np.uint16) * 257 if encoding.endswith("16") else pixels
    if encoding in ("rgb16", "bgr16"):
        return (rgb if encoding == "rgb16" else rgb[..., ::-1]).astype(np.uint16) * 257
    if encoding in ("mono8", "8UC1"):
        return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    if encoding == "mono16":
        return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257
    # ITU-R BT.601 with the range of video, as cameras send it.
    to_yuv = np.array([[0.257, 0.504, 0.098], [-0.148, -0.291, 0.439], [0.439, -0.368, -0.071]])
    yuv = np.clip(np.round(rgb @ to_yuv.T + (16, 128, 128)), 0, 255).astype(np.uint8)
    if encoding in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv"):
        luma, chroma = yuv[..., 0], np.where(np.arange(WIDTH) % 2 == 0, yuv[..., 1], yuv[..., 2])
        return np.stack([chroma, luma] if encoding in ("yuv422", "uyvy") else [luma, chroma], axis=-1)
    if encoding in ("nv12", "nv21"):
        chroma = yuv[::2, ::2, 1:] if encoding == "nv12" else yuv[::2, ::2, :0:-1]
        return np.vstack([yuv[..., 0], chroma.reshape(HEIGHT // 2, WIDTH)])
    if encoding.startswith("bayer_"):
        channels = ["rgb".index(c) for c in encoding[6:10]]
        mosaic = np.empty((HEIGHT, WIDTH), np.uint8)
        for k, channel in enumerate(channels):
            mosaic[k // 2 :: 2, k % 2 :: 2] = rgb[k // 2 :: 2, k % 2 :: 2, channel]
        return mosaic
    raise AssertionError(encoding)


GRAY = ("mono8", "8UC1", "mono16")
ENCODINGS = (
    "rgb8", "bgr8", "8UC3", "rgba8", "bgra8", "8UC4", "rgb16", "bgr16", "rgba16", "bgra16", *GRAY, "yuv422", "uyvy",
    "yuv422_yuy2", "yuyv", "nv12", "nv21", "bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8",
)  # fmt: skip


@pytest.mark.parametrize("padding", [0, 10])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_common_encoding_shows_the_same_picture(encoding: str, padding: int) -> None:
    """Protects: no encoding swaps channels, and row padding is not read as pixels."""
    rgb = rgb_of(message(encoding, padding))
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    assert rgb.dtype == np.uint8
    # The middle of every stripe: chroma subsampling and the mosaic blur the edges.
    for k, color in enumerate((RED, GREEN, BLUE)):
        middle = rgb[HEIGHT // 2, k * WIDTH // 3 + WIDTH // 6].astype(int)
        expected = [round(np.dot(color, (0.299, 0.587, 0.114)))] * 3 if encoding in GRAY else color
        assert np.abs(middle - expected).max() <= 6, (encoding, middle, expected)


@pytest.mark.parametrize("padding", [0, 10])
@pytest.mark.parametrize("encoding", [*ENCODINGS, "compressed"])
def test_a_camera_and_its_recording_show_the_same_pixels(encoding: str, padding: int) -> None:
    """Protects: what a policy saw is what a replay shows it, and looking at a message leaves it as it came."""
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import CompressedImage, Image

    if encoding == "compressed":
        kind, stored = COMPRESSED, compressed("jpeg", cv2.imencode(".jpg", picture())[1].tobytes())
    else:
        kind, stored = IMAGE, message(encoding, padding)
    cdr = bytes(STORE.serialize_cdr(stored, kind))
    live = deserialize_message(cdr, CompressedImage if encoding == "compressed" else Image)
    np.testing.assert_array_equal(rgb_of(live), rgb_of(STORE.deserialize_cdr(cdr, kind)))
    assert live == deserialize_message(cdr, type(live))


def test_big_endian_16_bit() -> None:
    """Protects: byte order is read from the message."""
    np.testing.assert_array_equal(rgb_of(message("rgb16", big=True)), picture())


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_compressed(kind: str) -> None:
    """Protects: compressed images come out as RGB, not BGR."""
    rgb = rgb_of(compressed(kind[1:], cv2.imencode(kind, picture()[..., ::-1])[1].tobytes()))
    assert np.abs(rgb[HEIGHT // 2, WIDTH // 6].astype(int) - RED).max() <= 6


def test_what_can_not_be_read_says_why() -> None:
    """Protects: depth, unknown encodings, short data and broken compression are refused, not shown as noise."""
    for encoding in ("16UC1", "nonsense", "8UC1000000000000"):
        strange = message("mono16")
        strange.encoding = encoding
        with pytest.raises(ImageDecodingError, match=encoding):
            rgb_of(strange)
    short = message("rgb8")
    short.data = short.data[:-1]
    with pytest.raises(ImageDecodingError, match="bytes"):
        rgb_of(short)
    narrow = message("bgr8")
    narrow.step -= 1
    with pytest.raises(ImageDecodingError, match="step"):
        rgb_of(narrow)
    for data in (b"not a jpeg", b""):
        with pytest.raises(ImageDecodingError, match="can't be decoded"):
            rgb_of(compressed("jpeg", data))


def photo(seed: int = 0) -> NDArray[np.uint8]:
    """Return a picture with as much detail as a camera's."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.integers(0, 256, (24, 32, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


JPEGS = {
    "plain": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "with restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 40],
    "full colour": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
}


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_with_a_part_missing_is_refused(kind: str) -> None:
    """Protects the arm (report F7): 2 kB missing in the middle were two thirds of a picture made up by libjpeg."""
    jpeg = cv2.imencode(".jpg", photo(), [cv2.IMWRITE_JPEG_QUALITY, 85, *JPEGS[kind]])[1].tobytes()
    whole = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(rgb_of(compressed("jpeg", jpeg)), whole)
    begin = jpeg.index(b"\xff\xda") + 14
    # A progressive picture's last passes are its finest detail: what is made up there, nobody sees.
    end = begin + int((len(jpeg) - begin) * (0.5 if kind == "progressive" else 1)) - 2500
    for at in np.linspace(begin, end, 12).astype(int):
        with pytest.raises(ImageDecodingError, match="format 'jpeg' can't be decoded: the JPEG is damaged"):
            rgb_of(compressed("jpeg", jpeg[:at] + jpeg[at + 2000 :]))
        with pytest.raises(ImageDecodingError, match="damaged"):
            rgb_of(compressed("jpeg", jpeg[:at]))


@pytest.mark.parametrize("damage", ["cut", "a part missing", "bits flipped", "no end"])
def test_a_damaged_png_is_refused(damage: str) -> None:
    """Protects the arm (report F7): half a PNG is no picture."""
    png = cv2.imencode(".png", photo())[1].tobytes()
    middle = len(png) // 2
    broken = {
        "cut": png[:middle],
        "a part missing": png[:middle] + png[middle + 2000 :],
        "bits flipped": png[:middle] + bytes([png[middle] ^ 4]) + png[middle + 1 :],
        "no end": png[:-12],
    }[damage]
    with pytest.raises(ImageDecodingError, match=r"the PNG is (cut|damaged)"):
        rgb_of(compressed("png", broken))


def jpeg_of_kind(kind: str) -> bytes:
    """Return a JPEG of another kind than a camera's."""
    image = Image.fromarray(picture())
    exif = Image.Exif()
    exif[0x0112] = 6 if kind == "turned" else 1
    stream = io.BytesIO()
    (image.convert("CMYK") if kind == "CMYK" else image).save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def test_mistyped_pictures_are_refused_by_name() -> None:
    """Protects the arm (report F7): depth as a nearly black picture, other colours, other directions, other formats."""
    depth = cv2.imencode(".png", np.full((HEIGHT, WIDTH), 900, np.uint16))[1].tobytes()
    grey = cv2.imencode(".png", picture()[..., 0])[1].tobytes()
    huge = bytearray(grey)
    huge[16:24] = (60000).to_bytes(4, "big") * 2
    for format_, data, says in (
        ("16UC1; png compressed ", depth, "'16UC1' is no colour"),
        ("32FC1; compressedDepth", bytes(12) + depth, "neither JPEG nor PNG"),
        ("16UC1; compressedDepth png", depth, "'16UC1' is no colour"),
        ("16UC1; jpeg compressed ", cv2.imencode(".jpg", picture()[..., 0])[1].tobytes(), "'16UC1' is no colour"),
        ("png", depth, "16 bits of grey are depth"),
        ("jpeg", jpeg_of_kind("CMYK"), "colours are CMYK"),
        ("jpeg", jpeg_of_kind("turned"), "EXIF data turn it"),
        ("jpeg", b"", "it is empty"),
        ("png", bytes(huge), "60000×60000 px are no camera's"),
        ("webp", cv2.imencode(".webp", picture())[1].tobytes(), "neither JPEG nor PNG"),
    ):
        with pytest.raises(ImageDecodingError, match=f"{re.escape(format_)}' can't be decoded: .*{says}"):
            rgb_of(compressed(format_, data))


def test_unusual_pictures_that_are_right_are_shown() -> None:
    """Protects cameras that send other pictures than most: grey, a mosaic, 16 bits, stray bytes, a mark "upright"."""
    rgb = picture()
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    as_grey = np.repeat(grey[..., None], 3, axis=2)
    for format_, image, expected in (
        ("mono8; jpeg compressed ", grey, as_grey),
        ("jpeg", grey, as_grey),
        ("mono16; png compressed ", grey.astype(np.uint16) * 257, as_grey),
        ("rgb16; png compressed ", rgb[..., ::-1].astype(np.uint16) * 257, rgb),
        ("bgra8; png compressed ", np.dstack([rgb[..., ::-1], grey]), rgb),
        ("bayer_rggb8; png compressed ", encoded("bayer_rggb8"), rgb),
    ):
        data = cv2.imencode(".jpg" if "jpeg" in format_ else ".png", image)[1].tobytes()
        shown = rgb_of(compressed(format_, data)).astype(int)
        for k in range(3):
            at = HEIGHT // 2, k * WIDTH // 3 + WIDTH // 6
            assert np.abs(shown[at] - expected[at]).max() <= 6, format_
    jpeg = jpeg_of_kind("upright")
    stray = jpeg[:-2] + b"\x55" * 12 + jpeg[-2:]
    np.testing.assert_array_equal(rgb_of(compressed("jpeg", stray)), rgb_of(compressed("jpeg", jpeg)))


def test_a_conditioned_image_is_of_the_contracts_kind() -> None:
    """Protects: a policy is shown no picture of another size or encoding, nor its replay."""
    np.testing.assert_array_equal(conditioned_image(message("rgb8"), (WIDTH, HEIGHT)), picture())
    with pytest.raises(ImageDecodingError, match="got bgr8 64×48, expected rgb8 64×48"):
        conditioned_image(message("bgr8"), (WIDTH, HEIGHT))
    with pytest.raises(ImageDecodingError, match="got 64×48, expected rgb8 32×24"):
        conditioned_image(compressed("png", cv2.imencode(".png", picture())[1].tobytes()), (32, 24))
