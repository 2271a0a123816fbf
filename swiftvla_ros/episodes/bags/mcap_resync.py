# SPDX-License-Identifier: Apache-2.0
"""Finds the records of an MCAP file again behind a place where a length or an opcode is wrong."""

from __future__ import annotations

import re
import struct

from swiftvla_ros.episodes.bags import mcap_writer as mcap
from swiftvla_ros.episodes.bags.mcap_records import HEAD, RecordFile

# The least that a record of its kind holds.
_SHORTEST = {
    mcap.HEADER: 8,
    mcap.FOOTER: 20,
    mcap.SCHEMA: 14,
    mcap.CHANNEL: 16,
    mcap.MESSAGE: 22,
    mcap.CHUNK: 40,
    mcap.MESSAGE_INDEX: 6,
    mcap.CHUNK_INDEX: 64,
    mcap.ATTACHMENT: 36,
    mcap.ATTACHMENT_INDEX: 48,
    mcap.STATISTICS: 46,
    mcap.METADATA: 8,
    mcap.METADATA_INDEX: 20,
    mcap.SUMMARY_OFFSET: 17,
    mcap.DATA_END: 4,
}
# What stands between chunks; schemas, channels and messages may also lie in the data of a damaged one.
_BETWEEN_CHUNKS = (mcap.CHUNK, mcap.MESSAGE_INDEX, mcap.ATTACHMENT, mcap.METADATA, mcap.DATA_END)
# An opcode, then a length below 2⁴⁰; found wherever it may begin.
_HEADS = re.compile(rb"(?=([\x01-\x0f]).{5}\x00{3})", re.DOTALL)
_BLOCK = 1 << 20
_MOST_TRIES = 1_000_000


def record_end(file: RecordFile, size: int, at: int) -> int | None:
    """Return where the record at ``at`` ends, if one of a known kind, with a length that can be, begins there."""
    head = file.read(at, 9)
    if len(head) < 9:
        return None
    opcode, length = HEAD.unpack(head)
    end = at + 9 + length
    return int(end) if length >= _SHORTEST.get(opcode, size) and end <= size else None


def goes_on(file: RecordFile, size: int, at: int, records: int = 1) -> bool:
    """Say whether the file goes on sensibly at ``at``: with so many records, or its end."""
    if at >= size - len(mcap.MAGIC):
        return at == size or file.read(at, len(mcap.MAGIC)) == mcap.MAGIC
    head = file.read(at, 9)
    # The format leaves the other opcodes to extensions.
    end = record_end(file, size, at) if head[0] < 0x80 else at + 9 + HEAD.unpack(head)[1]
    if end is not None and (records == 1 or goes_on(file, size, end, records - 1)):
        return True
    # The size of the record may be wrong where all else fits.
    return head[0] == mcap.CHUNK and _holds_what_it_says(file, at, size)


def find_record(file: RecordFile, size: int, at: int, *, chunked: bool) -> int | None:
    """Return where the next record begins, from ``at`` on, that is followed by another one or the end of the file.

    ``chunked``: only kinds that stand between chunks are looked for.
    """
    tries = 0
    for begin in range(at, size, _BLOCK):
        for match in _HEADS.finditer(file.read(begin, _BLOCK + 8)):
            place = begin + match.start()
            tries += 1
            if tries > _MOST_TRIES:
                return None
            if chunked and match[1][0] not in _BETWEEN_CHUNKS:
                continue
            end = record_end(file, size, place)
            if end is not None and goes_on(file, size, end) and _holds_what_it_says(file, place, end):
                return place
    return None


def chunk_sizes(head: bytes, length: int) -> tuple[str, int, int]:
    """Return (compression, offset of the data, bytes of the data) of a chunk's content of which a size may be wrong.

    ``head`` is the first 80 bytes of its content, ``length`` how many there may be.
    """
    text = head[32:36]
    compression = "zstd" if text == b"zstd" else "lz4" if text[:3] == b"lz4" else ""
    offset = 40 + len(compression)
    (stored,) = struct.unpack_from("<Q", head.ljust(80, b"\0"), offset - 8)
    return compression, offset, stored if offset + stored <= length else max(length - offset, 0)


def _holds_what_it_says(file: RecordFile, at: int, end: int) -> bool:
    """Look into a record: data that happens to look like a head has no content that fits it."""
    opcode, length = file.read(at, 1)[0], end - at - 9
    if opcode == mcap.CHUNK:
        head = file.read(at + 9, min(length, 80))
        compression, offset, stored = chunk_sizes(head, length)
        return int.from_bytes(head[28:32], "little") == len(compression) and offset + stored <= length
    if opcode == mcap.MESSAGE_INDEX:
        bytes_ = int.from_bytes(file.read(at + 11, 4), "little")
        return bytes_ % 16 == 0 and bytes_ <= length - 6
    return True
