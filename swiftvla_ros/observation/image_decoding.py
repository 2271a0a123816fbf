# SPDX-License-Identifier: Apache-2.0
"""Image messages as RGB, the same for one that just arrived and for one read from a bag, and RGB as JPEG.

It reads a message's fields and writes none, so it needs no ROS. ``cv_bridge`` converts the same encodings, but a bag
must also be read where that is not installed, and by the very conversion that the running system used.

What is damaged is refused. libjpeg makes up what a JPEG lacks and warns on stderr, where no node sees it; simplejpeg is
the same libjpeg with its warnings as errors. Not noticed is damage after which the code words go on making sense and
end where the picture ends: some bytes, that is, not a lost packet (of 16 missing bytes one in eight is, of 2 kB all).
"""

from __future__ import annotations

import re
import sys
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.image.image import ImageError, convert_color, to_cvtype

from swiftvla_ros.errors import UserError

# Encodings that name no colour but are used for one all the same.
_ALIASES = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8"}
_HALF_HEIGHT_CHROMA = ("nv12", "nv21")
# Wider or higher than any camera's, and more pixels.
_LARGEST_SIDE = 16384
_MOST_PIXELS = 1 << 26
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# Where EXIF data stand, if they do.
_EXIF_BYTES = 4096
# Drivers of cheap cameras leave a few bytes behind the picture's last code word; libjpeg warns of them alone then.
_STRAY_BYTES = 16


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
        Fewer bytes than the message claims, an encoding that has no colour (depth, say), or damaged compressed data.
    """
    data = np.frombuffer(message.data, np.uint8)
    if hasattr(message, "format"):
        # image_transport writes "bgr8; jpeg compressed bgr8": first what the picture was before.
        encoding = message.format.partition(";")[0].strip() if ";" in message.format else ""
        return decode_picture(data, f"a compressed image of format '{message.format}'", encoding)
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
    except (ImageError, TypeError) as error:
        raise ImageDecodingError(f"encoding '{message.encoding}' can't be shown as colour: {error}") from error
    if bool(message.is_bigendian) != (sys.byteorder == "big"):
        pixels = pixels.byteswap()
    return _as_rgb(pixels.reshape((rows, width) if channels == 1 else (rows, width, channels)), encoding)


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


def decode_picture(data: NDArray[np.uint8], named: str = "the image", encoding: str = "") -> NDArray[np.uint8]:
    """Return a JPEG or PNG as RGB uint8 [H, W, 3].

    Parameters
    ----------
    data
        Its bytes, uint8 [n].
    named
        What the error calls it.
    encoding
        What its pixels were before they were compressed, where that is known: grey ones may be a mosaic, or depth.

    Raises
    ------
    ImageDecodingError
        It is neither, is damaged, or shows no colours as they are.
    """
    start = data[: len(_PNG)].tobytes()
    try:
        if start.startswith(_JPEG):
            pixels, order = _jpeg(data), "rgb"
        elif start == _PNG:
            pixels, order = _png(data), "bgr"
        else:
            raise ImageDecodingError("it is neither JPEG nor PNG" if data.size else "it is empty")
        if _is_turned(data):
            raise ImageDecodingError("EXIF data turn it; store it upright, or write rotate_deg in the contract instead")
        return _as_rgb(pixels, _encoding(pixels, order, encoding))
    except (ImageDecodingError, cv2.error) as error:
        raise ImageDecodingError(f"{named} can't be decoded: {error}") from error


def jpeg_of(rgb: NDArray[np.uint8], quality: int) -> bytes:
    """Return RGB uint8 [H, W, 3] as a JPEG; 88 to 95 keeps what a policy sees nearly unchanged."""
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return jpeg.tobytes()


def _as_rgb(pixels: NDArray[Any], encoding: str) -> NDArray[np.uint8]:
    try:
        return np.asarray(convert_color(pixels, encoding, "rgb8"), np.uint8)
    except (ImageError, cv2.error, TypeError) as error:
        raise ImageDecodingError(f"encoding '{encoding}' can't be shown as colour: {error}") from error


def _jpeg(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB [H, W, 3], or grey [H, W]."""
    import simplejpeg  # here, since all else works without it

    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        _check_size(width, height)
        if colours not in ("YCbCr", "RGB", "Gray"):
            raise ImageDecodingError(f"its colours are {colours}, not those of a camera")
        shown = "GRAY" if colours == "Gray" else "RGB"
        try:
            pixels = simplejpeg.decode_jpeg(data, shown, strict=True)
        except ValueError as error:
            stray = re.search(r"(\d+) extraneous bytes before marker 0xd9", str(error))
            if stray is None or int(stray[1]) > _STRAY_BYTES:
                raise
            pixels = simplejpeg.decode_jpeg(data, shown, strict=False)
    except ImageDecodingError:
        raise
    except ValueError as error:
        raise ImageDecodingError(f"the JPEG is damaged ({error})") from error
    return np.asarray(pixels[..., 0] if shown == "GRAY" else pixels, np.uint8)


def _png(data: NDArray[np.uint8]) -> NDArray[Any]:
    """BGR or BGRA [H, W, c], or grey [H, W], of 8 or 16 bits."""
    content, at, kind = data.tobytes(), len(_PNG), b""
    _check_size(int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big"))
    while kind != b"IEND":
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        # Older versions of OpenCV show the part of a PNG that they have.
        if not at + 12 <= end <= len(content):
            raise ImageDecodingError("the PNG is cut")
        kind = content[at + 4 : at + 8]
        if zlib.crc32(content[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            raise ImageDecodingError(f"the PNG is damaged (checksum of its part {kind!r})")
        at = end
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ImageDecodingError("the PNG is damaged")
    return np.asarray(pixels)


def _check_size(width: int, height: int) -> None:
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE and width * height <= _MOST_PIXELS):
        raise ImageDecodingError(f"{width}×{height} px are no camera's")


def _is_turned(data: NDArray[np.uint8]) -> bool:
    """Whether EXIF data tell viewers to turn it, which drivers, recorders and lerobot do each in another way."""
    head = data[:_EXIF_BYTES].tobytes()
    if b"Exif\0\0" not in head and b"eXIf" not in head:
        return False
    turned, stored = (cv2.imdecode(data, cv2.IMREAD_COLOR | flag) for flag in (0, cv2.IMREAD_IGNORE_ORIENTATION))
    return turned is None or stored is None or not np.array_equal(turned, stored)


def _encoding(pixels: NDArray[Any], order: str, before: str) -> str:
    """The encoding of a decoded picture's pixels, whose colours are in ``order``; depth is no picture."""
    bits = 8 * pixels.itemsize
    if re.fullmatch(r"\d+[USF]C\d+", before) and before not in _ALIASES:
        raise ImageDecodingError(f"encoding '{before}' is no colour")
    if pixels.ndim == 2:
        if before.startswith("bayer_") and before.endswith(str(bits)):
            return before
        if bits == 16 and before != "mono16":
            raise ImageDecodingError("16 bits of grey are depth, unless the format says 'mono16; png compressed'")
        return f"mono{bits}"
    return order + ("a" if pixels.shape[2] == 4 else "") + str(bits)
