# SPDX-License-Identifier: Apache-2.0
"""The records of MCAP files, read with every length that they give checked before it is believed."""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import lz4.frame  # type: ignore[import-untyped]
import numpy as np
from backports import zstd
from numpy.typing import NDArray

from swiftvla_ros.episodes.bags import mcap_writer as mcap
from swiftvla_ros.episodes.bags.message_types import Channel

# A chunk with a 4K image has 25 MB.
LARGEST_CHUNK = 256 << 20
_MOST_CHANNELS = 4096
_CACHE = 64 << 20
HEAD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")
# What lists a message: its time of reception (ns), channel, and place in the chunk (or, outside of chunks, the file).
ENTRY = np.dtype([("ns", "<i8"), ("offset", "<i8"), ("channel", "<u2")])


class DamageError(Exception):
    """What a record says of itself can't be."""


@dataclass
class Chunk:
    """Where a chunk's data lies, and the messages that the records behind it list; None: nothing.

    ``cut``: the file ends in this chunk.
    """

    offset: int
    stored: int
    plain: int
    checksum: int
    compression: str
    lists: list[NDArray[np.void]] | None = None
    cut: bool = False


@dataclass
class Tables:
    """What records tell of topics: (type, language, definition) by a schema's number, and channels by theirs."""

    schemas: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)


class RecordFile:
    """Reads a file's bytes, the data of its chunks and its messages; a context manager. ``chunks`` may still grow."""

    def __init__(self, path: Path, chunks: Sequence[Chunk]) -> None:
        self._path = path
        self._chunks = chunks
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._cached = 0

    def __enter__(self) -> RecordFile:
        self._file = self._path.open("rb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._cache.clear()

    def read(self, at: int, length: int) -> bytes:
        """Return bytes of the file; fewer where it ends."""
        self._file.seek(at)
        return self._file.read(length)

    def data(self, number: int) -> bytes:
        """Return a chunk's data, whole and checked; only what there is of the one in which the file ends."""
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        chunk = self._chunks[number]
        data = _decompress(self.read(chunk.offset, chunk.stored), chunk)
        while self._cache and self._cached + len(data) > _CACHE:
            self._cached -= len(self._cache.popitem(last=False)[1])
        self._cache[number] = data
        self._cached += len(data)
        return data

    def message(self, number: int | None, offset: int, channel: int, ns: int) -> bytes:
        """Return the data of the message that chunk ``number`` (None: the file) is said to have at ``offset``."""
        where = f"byte {offset}" + ("" if number is None else f" of the chunk at byte {self._chunks[number].offset}")
        data = b"" if number is None else self.data(number)
        head = self.read(offset, 31) if number is None else data[offset : offset + 31] if offset >= 0 else b""
        if len(head) < 31:
            raise DamageError(f"no message at {where}")
        opcode, length = HEAD.unpack_from(head)
        found, _, found_ns, _ = MESSAGE_HEAD.unpack_from(head, 9)
        if (opcode, found, found_ns) != (mcap.MESSAGE, channel, ns) or length < 22:
            raise DamageError(f"no message of topic number {channel} at {where}")
        if length > LARGEST_CHUNK:
            raise DamageError(f"a message of {length} bytes at {where}; at most {LARGEST_CHUNK} are read")
        content = self.read(offset + 31, length - 22) if number is None else data[offset + 31 : offset + 9 + length]
        if len(content) != length - 22:
            raise DamageError(f"the message at {where} is longer than its chunk")
        return content


def _decompress(stored: bytes, chunk: Chunk) -> bytes:
    """Return a chunk's data: never more than it says, all of it unless the file ends in it."""
    name = f"the chunk at byte {chunk.offset}"
    try:
        if chunk.compression == "zstd":
            data = zstd.ZstdDecompressor().decompress(stored, chunk.plain + 1)
        elif chunk.compression == "lz4":
            data = bytes(lz4.frame.LZ4FrameDecompressor().decompress(stored, chunk.plain + 1))
        else:
            data = stored
    except (zstd.ZstdError, RuntimeError, EOFError, MemoryError) as error:
        raise DamageError(f"{name} can't be decompressed: {error}") from None
    if chunk.cut:
        return data[: chunk.plain]
    if len(data) != chunk.plain:
        raise DamageError(f"{name} holds {len(data)} bytes and says {chunk.plain}")
    if chunk.checksum and zlib.crc32(data) != chunk.checksum:
        raise DamageError(f"{name} has another checksum than was recorded")
    return data


def walk(data: bytes, tables: Tables, *, cut: bool) -> NDArray[np.void]:
    """List the messages in a chunk's data, and take its topics; ``cut``: its end may be missing."""
    entries: list[tuple[int, int, int]] = []
    at, size = 0, len(data)
    while at < size:
        if at + 9 > size:
            opcode, end = 0, size + 1
        else:
            opcode, length = HEAD.unpack_from(data, at)
            end = at + 9 + length
        if end > size:
            if cut:
                break
            raise DamageError("a chunk ends inside a record")
        if opcode == mcap.MESSAGE:
            if end < at + 31:
                raise DamageError("a message without a head in a chunk")
            channel, _, ns, _ = MESSAGE_HEAD.unpack_from(data, at + 9)
            entries.append((ns, at, channel))
        elif opcode in (mcap.SCHEMA, mcap.CHANNEL):
            take_table(tables, opcode, data[at + 9 : end])
        at = end
    if any(not 0 <= ns < 2**63 for ns, _, _ in entries):
        raise DamageError("a message from a time that can't be")
    return np.array(entries, ENTRY) if entries else np.empty(0, ENTRY)


def take_table(tables: Tables, opcode: int, content: bytes) -> None:
    """Take the record of a message definition or of a topic."""
    try:
        if opcode == mcap.SCHEMA:
            (number,) = struct.unpack_from("<H", content)
            name, at = read_text(content, 2)
            language, at = read_text(content, at)
            definition, _ = read_text(content, at)
            tables.schemas[number] = (name, language, definition)
        else:
            number, schema = struct.unpack_from("<HH", content)
            topic, at = read_text(content, 4)
            encoding, at = read_text(content, at)
            if schema not in tables.schemas:
                raise DamageError(f"topic {topic}: its type is number {schema}, which no record names")
            if encoding != "cdr":
                raise DamageError(f"topic {topic}: encoded as '{encoding}', not as ROS 2's cdr: no bag of ROS 2")
            name, language, definition = tables.schemas[schema]
            tables.channels[number] = Channel(topic, name, definition, language)
    except struct.error:
        raise DamageError("the record of a topic is too short") from None
    if len(tables.channels) + len(tables.schemas) > 2 * _MOST_CHANNELS:
        raise DamageError(f"more than {_MOST_CHANNELS} topics")


def read_text(content: bytes, at: int) -> tuple[str, int]:
    """Return the text at an offset of a record, and the offset behind it."""
    end = at + 4 + int.from_bytes(content[at : at + 4], "little")
    if len(content) < at + 4 or len(content) < end:
        raise DamageError("a text is longer than its record")
    return content[at + 4 : end].decode("utf-8", "replace"), end
