# SPDX-License-Identifier: Apache-2.0
"""Writes MCAP files so that what was flushed stays readable, whatever happens to the process or the disk.

A file grows by whole chunks. After each of them it can be read up to there, by ``mcap recover`` too; a chunk that does
not fit on the disk is taken back, and the file is finished with what it holds. The ``mcap`` library's writer forgets a
chunk before it is written, takes nothing back where the disk is full, and has neither level nor window to set.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import lz4.frame  # type: ignore[import-untyped]
from backports import zstd

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(0x01, 0x09)
ATTACHMENT, ATTACHMENT_INDEX, STATISTICS, METADATA, METADATA_INDEX, SUMMARY_OFFSET, DATA_END = range(0x09, 0x10)
COMPRESSIONS = ("", "zstd", "lz4")

_CHUNK_BYTES = 4 << 20
# The window spans a chunk, so that a camera's picture is found again behind those of the others.
_ZSTD: dict[int, int] = {zstd.CompressionParameter.compression_level: 1, zstd.CompressionParameter.window_log: 22}
_MESSAGE_HEADER = struct.Struct("<BQHIQQ")
_NO_TIME = 2**63 - 1


class McapWriter:
    """Writes one new file, whose chunks are compressed with ``""``, ``"zstd"`` or ``"lz4"``; used by one thread.

    Raises
    ------
    OSError
        Also from :meth:`message`, :meth:`flush` and :meth:`metadata`, where the disk is full: the file then ends with
        the last whole record, and the messages since :meth:`flush` are kept for another try.
    """

    def __init__(self, path: Path, *, compression: str, library: str) -> None:
        if compression not in COMPRESSIONS:
            raise ValueError(f"compression '{compression}' is unknown; write one of {COMPRESSIONS}")
        self._compression = compression
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        # File offset behind the last whole record.
        self.written = 0
        self._schemas: list[bytes] = []
        self._channels: list[bytes] = []
        self._chunk_indexes: list[bytes] = []
        self._metadata_indexes: list[bytes] = []
        self.counts: dict[int, int] = {}
        self.start_ns, self.end_ns = _NO_TIME, 0
        self._begin_chunk()
        self._append(MAGIC + _record(HEADER, _text("ros2") + _text(library)))

    def _begin_chunk(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._chunk_start, self._chunk_end = _NO_TIME, 0
        self._index: dict[int, list[tuple[int, int]]] = defaultdict(list)

    @property
    def pending(self) -> int:
        """Messages that are not in the file yet."""
        return sum(map(len, self._index.values()))

    def schema(self, name: str, language: str, definition: str) -> int:
        """Add a message definition and return its number."""
        number = len(self._schemas) + 1
        content = struct.pack("<H", number) + _text(name) + _text(language) + _text(definition)
        self._schemas.append(_record(SCHEMA, content))
        self._add(self._schemas[-1])
        return number

    def channel(self, schema: int, topic: str, metadata: Mapping[str, str]) -> int:
        """Add a topic and return its number."""
        number = len(self._channels) + 1
        content = struct.pack("<HH", number, schema) + _text(topic) + _text("cdr") + _texts(metadata)
        self._channels.append(_record(CHANNEL, content))
        self._add(self._channels[-1])
        self.counts[number] = 0
        return number

    def message(self, channel: int, time_ns: int, data: bytes) -> None:
        """Add a message; it is in the file after :meth:`flush`, or when the chunk is full."""
        self._index[channel].append((time_ns, self._size))
        self._add(_MESSAGE_HEADER.pack(MESSAGE, len(data) + 22, channel, 0, time_ns, time_ns), data)
        self._chunk_start, self._chunk_end = min(self._chunk_start, time_ns), max(self._chunk_end, time_ns)
        self.counts[channel] += 1
        if self._size >= _CHUNK_BYTES:
            self.flush()

    def _add(self, *parts: bytes) -> None:
        self._parts += parts
        self._size += sum(map(len, parts))

    def flush(self) -> None:
        """Write the pending messages into the file as one chunk."""
        if not self._parts:
            return
        plain = b"".join(self._parts)
        stored = _compress(plain, self._compression)
        empty = not self._index
        start, end = (0, 0) if empty else (self._chunk_start, self._chunk_end)
        head = struct.pack("<QQQI", start, end, len(plain), zlib.crc32(plain)) + _text(self._compression)
        # Not one string: the images are copied often enough.
        chunk_head = struct.pack("<BQ", CHUNK, len(head) + 8 + len(stored)) + head + struct.pack("<Q", len(stored))
        chunk_bytes = len(chunk_head) + len(stored)
        records, offsets, at = [], [], self.written + chunk_bytes
        for channel, entries in self._index.items():
            numbers = [n for entry in entries for n in entry]
            content = struct.pack(f"<HI{len(numbers)}Q", channel, 16 * len(entries), *numbers)
            records.append(_record(MESSAGE_INDEX, content))
            offsets.append((channel, at))
            at += len(records[-1])
        indexes = b"".join(records)
        place = struct.pack("<QQQQI", start, end, self.written, chunk_bytes, 10 * len(offsets))
        place += b"".join(struct.pack("<HQ", *offset) for offset in offsets)
        place += (
            struct.pack("<Q", len(indexes)) + _text(self._compression) + struct.pack("<QQ", len(stored), len(plain))
        )
        self._append(chunk_head, stored, indexes)
        self._chunk_indexes.append(_record(CHUNK_INDEX, place))
        if not empty:
            self.start_ns, self.end_ns = min(self.start_ns, start), max(self.end_ns, end)
        self._begin_chunk()

    def metadata(self, name: str, values: Mapping[str, str]) -> None:
        """Write texts by their names; of several records with one name the last holds."""
        record = _record(METADATA, _text(name) + _texts(values))
        place = struct.pack("<QQ", self.written, len(record)) + _text(name)
        self._append(record)
        self._metadata_indexes.append(_record(METADATA_INDEX, place))

    def forget_pending(self) -> int:
        """Give up the messages that are not in the file, and return how many they were."""
        lost = self.pending
        for channel, entries in self._index.items():
            self.counts[channel] -= len(entries)
        self._begin_chunk()
        return lost

    def close(self) -> None:
        """Write the summary and close; without space for it the file ends with the last whole record."""
        try:
            self.flush()
            self._append(*self._summary())
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close without a summary."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def sync(self) -> None:
        """Have the system put what was written onto the disk."""
        os.fsync(self._file)

    def _summary(self) -> list[bytes]:
        data_end = _record(DATA_END, struct.pack("<I", 0))
        count = sum(self.counts.values())
        times = (self.start_ns, self.end_ns) if count else (0, 0)
        numbers = (count, len(self._schemas), len(self._channels), 0, len(self._metadata_indexes))
        statistics = struct.pack("<QHIIIIQQI", *numbers, len(self._chunk_indexes), *times, 10 * len(self.counts))
        statistics += b"".join(struct.pack("<HQ", *item) for item in self.counts.items())
        groups = (
            (SCHEMA, self._schemas),
            (CHANNEL, self._channels),
            (CHUNK_INDEX, self._chunk_indexes),
            (METADATA_INDEX, self._metadata_indexes),
            (STATISTICS, [_record(STATISTICS, statistics)]),
        )
        start = at = self.written + len(data_end)
        parts, offsets = [data_end], []
        for opcode, records in groups:
            group = b"".join(records)
            if group:
                offsets.append(_record(SUMMARY_OFFSET, struct.pack("<BQQ", opcode, at, len(group))))
            parts.append(group)
            at += len(group)
        parts += offsets
        # The checksum covers the summary up to itself: it begins behind DataEnd.
        footer = struct.pack("<BQQQ", FOOTER, 20, start, at)
        checksum = zlib.crc32(b"".join(parts[1:]) + footer)
        return [*parts, footer, struct.pack("<I", checksum), MAGIC]

    def _append(self, *parts: bytes) -> None:
        """Write all parts, or none: a part of a record would end what readers see of the file."""
        try:
            for part in parts:
                rest = memoryview(part)
                while rest:
                    rest = rest[os.write(self._file, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self.written)
                os.lseek(self._file, self.written, os.SEEK_SET)
            raise
        self.written += sum(map(len, parts))


def _compress(data: bytes, compression: str) -> bytes:
    if compression == "zstd":
        return zstd.compress(data, options=_ZSTD)
    return bytes(lz4.frame.compress(data)) if compression == "lz4" else data


def _record(opcode: int, content: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(content)) + content


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def _texts(values: Mapping[str, str]) -> bytes:
    content = b"".join(_text(key) + _text(value) for key, value in values.items())
    return struct.pack("<I", len(content)) + content
