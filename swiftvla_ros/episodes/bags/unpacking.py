# SPDX-License-Identifier: Apache-2.0
"""What rosbag2 compressed as a whole, files or single messages: unpacked within bounds of space, time and memory."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from backports import zstd

from swiftvla_ros.episodes.bags.mcap_records import LARGEST_CHUNK
from swiftvla_ros.episodes.bags.message_types import BagError

# No message in CDR begins so: its first byte is zero.
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOCK = 1 << 20
# A recording of black pictures stays far below; only bombs are beyond.
_LARGEST_RATIO = 1000
_SMALLEST_LIMIT = 256 << 20
_KEPT_FREE = 256 << 20


@dataclass(frozen=True)
class Source:
    """Where a file's plain bytes lie: itself, or a copy in a temporary folder that goes with this object.

    ``damage`` says what is missing of the copy.
    """

    path: Path
    folder: TemporaryDirectory[str] | None = None
    damage: str = ""


def unpacked(path: Path) -> Source:
    """Return a file's plain bytes, unpacked into a temporary folder where rosbag2 compressed the file.

    Raises
    ------
    BagError
        It can't be read or unpacked, or there is no space for it.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != ZSTD_MAGIC:
                return Source(path)
        folder = temporary_folder(path, path.stat().st_size)
        plain = Path(folder.name) / path.with_suffix("").name
        damage = _unpack(path, plain)
    except OSError as error:
        raise BagError(f"{path}: can't be read: {error.strerror or error}") from error
    return Source(plain, folder, damage)


def temporary_folder(path: Path, size: int) -> TemporaryDirectory[str]:
    """Make a temporary folder with space for ``size`` bytes of ``path``; raises BagError where there is none."""
    if shutil.disk_usage(gettempdir()).free < size + _KEPT_FREE:
        raise _no_space(path)
    return TemporaryDirectory(prefix="swiftvla-bag-")


def _unpack(path: Path, plain: Path) -> str:
    """Unpack a file as far as it goes; return what stopped it."""
    room = max(_SMALLEST_LIMIT, _LARGEST_RATIO * path.stat().st_size)
    free = shutil.disk_usage(plain.parent).free - _KEPT_FREE
    written = 0
    try:
        with zstd.open(path, "rb") as packed, plain.open("wb") as out:
            while block := packed.read(_BLOCK):
                written += len(block)
                if written > room:
                    raise BagError(f"{path}: damaged: it unpacks to more than {room >> 20} MB, which no recording does")
                if written > free:
                    raise _no_space(path)
                out.write(block)
    except (zstd.ZstdError, EOFError) as error:
        if not written:
            raise BagError(f"{path}: damaged: it can't be unpacked: {error}") from None
        # What came before is whole: the reader sees a file that was cut.
        return f"it can be unpacked up to byte {written} only: {error}"
    return ""


def plain_message(data: bytes) -> bytes:
    """Return a message as it was before rosbag2 compressed it (mode MESSAGE); others as they are.

    Raises
    ------
    BagError
        It can't be unpacked, or becomes too large.
    """
    if data[:4] != ZSTD_MAGIC:
        return data
    try:
        unpacker = zstd.ZstdDecompressor()
        plain = unpacker.decompress(data, LARGEST_CHUNK + 1)
    except (zstd.ZstdError, EOFError, MemoryError) as error:
        raise BagError(f"damaged: its zstd frame can't be unpacked: {error}") from None
    if len(plain) > LARGEST_CHUNK:
        raise BagError(f"damaged: it unpacks to more than {LARGEST_CHUNK} bytes")
    if not unpacker.eof:
        raise BagError("damaged: its zstd frame is cut")
    return plain


def _no_space(path: Path) -> BagError:
    return BagError(f"{path}: no space in {gettempdir()} to unpack or copy it; set TMPDIR to a folder with more")
