# SPDX-License-Identifier: Apache-2.0
"""The records of MCAP files, read with every length that they give checked before it is believed."""

from __future__ import annotations

import os
import struct
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import lz4.frame  # type: ignore[import-untyped]
import numpy as np
from backports import zstd
from numpy.typing import NDArray

from swiftvla_ros.episodes.bags import mcap_writer as mcap

# A chunk with a 4K image has 25 MB.
LARGEST_CHUNK = 256 << 20
_MOST_CHANNELS = 4096
_CACHE = 64 << 20
_BLOCK = 1 << 20
_MOST_GUESSES = 32
_MOST_FRAMES = 256
HEAD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")
# What lists a message: its time of reception (ns), channel, and place in the chunk (or, outside of chunks, the file).
ENTRY = np.dtype([("ns", "<i8"), ("offset", "<i8"), ("channel", "<u2")])


class DamageError(Exception):
    """What a record says of itself can't be."""


class LimitError(Exception):
    """A file is larger than memory allows to list."""


@dataclass
class Chunk:
    """Where a chunk's data lies, and the messages that the records behind it list; None: nothing.

    ``cut``: the file ends in this chunk. ``doubtful``: the sizes in its head may be wrong, and up
    to ``most`` bytes may be its own; its checksum decides.
    """

    offset: int
    stored: int
    plain: int
    checksum: int
    compression: str
    lists: list[NDArray[np.void]] | None = None
    cut: bool = False
    doubtful: bool = False
    most: int = 0


class TopicRecord(NamedTuple):
    """What a file's record of a topic says; ``schema`` is the number of its type's definition, 0 for none."""

    topic: str
    encoding: str
    schema: int
    digest: str

    @property
    def is_ros2(self) -> bool:
        """Whether it holds messages of a ROS 2 type."""
        return self.encoding == "cdr" and self.schema != 0


@dataclass
class Tables:
    """What records tell of topics: (type, language, definition) by a schema's number, and topics by theirs.

    ``conflicts`` names numbers that two records describe differently; the later one, of the two, is kept.
    """

    schemas: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    topics: dict[int, TopicRecord] = field(default_factory=dict)
    conflicts: set[str] = field(default_factory=set)

    def take(self, opcode: int, content: bytes) -> None:
        """Take the record of a message definition or of a topic."""
        try:
            (number,) = struct.unpack_from("<H", content)
            if opcode == mcap.SCHEMA:
                name, at = read_text(content, 2)
                language, at = read_text(content, at)
                definition, _ = read_text(content, at)
                self._put(self.schemas, number, (name, language, definition), f"type {name}")
            else:
                (schema,) = struct.unpack_from("<H", content, 2)
                topic, at = read_text(content, 4)
                encoding, at = read_text(content, at)
                digest = read_texts(content, at).get("topic_type_hash", "")
                self._put(self.topics, number, TopicRecord(topic, encoding, schema, digest), f"topic {topic}")
        except struct.error:
            raise DamageError("the record of a topic is too short") from None
        if len(self.topics) + len(self.schemas) > 2 * _MOST_CHANNELS:
            raise DamageError(f"more than {_MOST_CHANNELS} topics")

    def merge(self, other: Tables) -> None:
        """Take what another part of the file tells."""
        for number, schema in other.schemas.items():
            self._put(self.schemas, number, schema, f"type {schema[0]}")
        for number, topic in other.topics.items():
            self._put(self.topics, number, topic, f"topic {topic.topic}")
        self.conflicts |= other.conflicts

    def _put(self, table: dict[int, Any], number: int, entry: Any, what: str) -> None:
        if table.setdefault(number, entry) != entry:
            self.conflicts.add(f"{what} (number {number})")
            table[number] = entry


class RecordFile:
    """Reads a file's bytes, the data of its chunks and its messages; a context manager. ``chunks`` may still grow."""

    def __init__(self, path: Path, chunks: Sequence[Chunk]) -> None:
        self._path = path
        self._chunks = chunks
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._cached = 0
        self._guesses = _MOST_GUESSES

    def __enter__(self) -> RecordFile:
        self._file = self._path.open("rb")
        self._size = os.fstat(self._file.fileno()).st_size
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._cache.clear()

    def read(self, at: int, length: int) -> bytes:
        """Return bytes of the file; fewer where it ends."""
        # What a damaged length leads to may be further than any file can be long.
        if at >= self._size:
            return b""
        self._file.seek(at)
        return self._file.read(length)

    def data(self, number: int) -> bytes:
        """Return a chunk's data, whole and checked; only what there is of the one in which the file ends."""
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        data = self._checked(self._chunks[number])
        while self._cache and self._cached + len(data) > _CACHE:
            self._cached -= len(self._cache.popitem(last=False)[1])
        self._cache[number] = data
        self._cached += len(data)
        return data

    def _checked(self, chunk: Chunk) -> bytes:
        try:
            return _decompress(self.read(chunk.offset, chunk.stored), chunk)
        except DamageError:
            if not chunk.doubtful or self._guesses == 0:
                raise
        # Bombs may not cost much time each.
        self._guesses -= 1
        return _decompress(self.read(chunk.offset, chunk.most), chunk, guess=True)

    def checksum(self, start: int, end: int) -> int:
        """Return the CRC-32 of a part of the file."""
        checksum = 0
        for at in range(start, end, _BLOCK):
            checksum = zlib.crc32(self.read(at, min(_BLOCK, end - at)), checksum)
        return checksum

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


def _decompress(stored: bytes, chunk: Chunk, *, guess: bool = False) -> bytes:
    """Return a chunk's data: never more than it says, all of it unless the file ends in it.

    With ``guess``, its checksum alone decides.
    """
    name = f"the chunk at byte {chunk.offset}"
    limit = LARGEST_CHUNK if guess else chunk.plain
    try:
        data = _frames(stored, chunk.compression, limit + 1)
    except (zstd.ZstdError, RuntimeError, EOFError, MemoryError) as error:
        raise DamageError(f"{name} can't be decompressed: {error}") from None
    if chunk.cut:
        return data[: chunk.plain]
    whole = chunk.checksum and len(data) <= limit and zlib.crc32(data) == chunk.checksum
    if len(data) != chunk.plain and not (guess and whole):
        raise DamageError(f"{name} holds {len(data)} bytes and says {chunk.plain}")
    if chunk.checksum and not whole:
        raise DamageError(f"{name} has another checksum than was recorded")
    return data


def _frames(stored: bytes, compression: str, limit: int) -> bytes:
    """Decompress the frames of a chunk, one behind the other, up to ``limit`` bytes."""
    if not compression:
        return stored
    parts: list[bytes] = []
    while stored and limit > 0 and len(parts) < _MOST_FRAMES:
        unpacker = zstd.ZstdDecompressor() if compression == "zstd" else lz4.frame.LZ4FrameDecompressor()
        try:
            parts.append(bytes(unpacker.decompress(stored, limit)))
        except (zstd.ZstdError, RuntimeError):
            # What some writers leave behind the last frame is none; whether all is there, the length tells.
            if not parts:
                raise
            break
        limit -= len(parts[-1])
        stored = unpacker.unused_data or b""
    return b"".join(parts) if len(parts) != 1 else parts[0]


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
            tables.take(opcode, data[at + 9 : end])
        at = end
    if any(not 0 <= ns < 2**63 for ns, _, _ in entries):
        raise DamageError("a message from a time that can't be")
    return np.array(entries, ENTRY) if entries else np.empty(0, ENTRY)


def read_text(content: bytes, at: int) -> tuple[str, int]:
    """Return the text at an offset of a record, and the offset behind it."""
    end = at + 4 + int.from_bytes(content[at : at + 4], "little")
    if len(content) < at + 4 or len(content) < end:
        raise DamageError("a text is longer than its record")
    return content[at + 4 : end].decode("utf-8", "replace"), end


def read_texts(content: bytes, at: int) -> dict[str, str]:
    """Return the texts by their names at an offset of a record."""
    values, end = {}, at + 4 + int.from_bytes(content[at : at + 4], "little")
    at += 4
    while at < end:
        key, at = read_text(content, at)
        values[key], at = read_text(content, at)
    return values
