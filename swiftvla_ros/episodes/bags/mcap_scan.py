# SPDX-License-Identifier: Apache-2.0
"""One pass over an MCAP file's records: what there is, and which of its checksums hold."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from swiftvla_ros.episodes.bags import mcap_writer as mcap
from swiftvla_ros.episodes.bags.mcap_records import (
    ENTRY,
    HEAD,
    LARGEST_CHUNK,
    MESSAGE_HEAD,
    Chunk,
    DamageError,
    LimitError,
    RecordFile,
    Tables,
    read_text,
    read_texts,
)
from swiftvla_ros.episodes.bags.mcap_resync import chunk_sizes, find_record, goes_on

# 30 hours of an arm with two cameras.
MOST_MESSAGES = 32_000_000
_LARGEST_RECORD = 16 << 20
# With the longest name of a compression.
_CHUNK_HEAD = 44
_DATA = (mcap.CHUNK, mcap.MESSAGE, mcap.ATTACHMENT, mcap.DATA_END)


@dataclass
class Contents:
    """What a file holds: its chunks, messages outside of them (time, offset, channel), topics and metadata.

    ``statistics`` is the number of messages that the summary tells, None without one; ``notes`` say what is missing.
    ``changed``: its summary is not what was recorded, and was not used.
    """

    chunks: list[Chunk] = field(default_factory=list)
    loose: list[tuple[int, int, int]] = field(default_factory=list)
    tables: Tables = field(default_factory=Tables)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    statistics: int | None = None
    changed: bool = False
    attachments: int = 0
    notes: list[str] = field(default_factory=list)


class Scan:
    """Walks the records of an open file of ``size`` bytes and fills ``contents``.

    With ``salvage`` what can't be is noted and passed over, and records are looked for behind it.

    Raises
    ------
    DamageError
        Something is wrong before the file's end (without ``salvage``).
    """

    def __init__(self, file: RecordFile, size: int, contents: Contents, *, salvage: bool) -> None:
        self._file = file
        self._size = size
        self._found = contents
        self._salvage = salvage
        # It was closed, so that no record can go on behind its end.
        self._closed = size >= 2 * len(mcap.MAGIC) and file.read(size - len(mcap.MAGIC), len(mcap.MAGIC)) == mcap.MAGIC
        self._summary = Tables()
        self._statistics: int | None = None
        # Where the data end, how many chunks and messages came before, and the checksum of all that.
        self._data_end: tuple[int, int] | None = None
        self._data_crc = 0
        self._footer: tuple[int, bytes] | None = None

    def run(self) -> None:
        """Walk all records."""
        at: int | None = len(mcap.MAGIC)
        while at is not None:
            seen = len(self._found.chunks) + len(self._found.loose)
            try:
                at = self._step(at)
            except DamageError as error:
                if self._data_end is None or seen != self._data_end[1]:
                    raise
                # Nothing behind the data is needed to read them.
                self._found.notes.append(f"its summary is damaged ({error}), so the records themselves were listed")
                self._found.changed = True
                self._footer = None
                break
        self._check_data()
        self._use_summary()

    def _step(self, at: int) -> int | None:
        """Take the record at ``at``; return where the next one begins, None at the end."""
        if at + 9 > self._size:
            self._cut("the file ends without a footer: its recorder was ended")
            return None
        opcode, length = HEAD.unpack(self._file.read(at, 9))
        body, end = at + 9, at + 9 + length
        if opcode == mcap.FOOTER and end <= self._size:
            self._take_footer(at, end)
            return None
        if self._salvage:
            return self._salvage_step(at, opcode, end)
        if opcode == 0:
            raise DamageError(f"no record at byte {at}")
        if end > self._size:
            if self._closed:
                raise DamageError(f"the record at byte {at} is said to have {length} bytes, more than the file")
            self._cut_record(opcode, body)
            return None
        self._take(opcode, body, length)
        return int(end)

    def _salvage_step(self, at: int, opcode: int, end: int) -> int | None:
        body = at + 9
        ends = [end]
        if opcode == mcap.CHUNK:
            _, offset, stored = chunk_sizes(self._file.read(body, 80), self._size - body)
            ends.append(body + offset + stored)
        # Of two ends that a chunk tells, only one is right.
        depth = len(ends)
        right = (e for e in ends if opcode and e <= self._size and goes_on(self._file, self._size, e, depth))
        place = next(right, None)
        if place is None:
            chunked = opcode == mcap.CHUNK or bool(self._found.chunks)
            place = find_record(self._file, self._size, body, chunked=chunked)
            if place is None and not self._closed:
                # The file was cut soon after this record, or in it.
                place = next((e for e in reversed(ends) if opcode and e <= self._size), None)
                if place is None:
                    self._cut_record(opcode, body)
                    return None
                return self._take_or_note(opcode, body, place)
            self._found.notes.append(f"bytes {at} to {place or self._size} are no whole record")
            if opcode != mcap.CHUNK:
                return place
        elif place != end:
            self._found.notes.append(f"the record at byte {at} is said to have {end - body} bytes")
        return self._take_or_note(opcode, body, place)

    def _take_or_note(self, opcode: int, body: int, end: int | None) -> int | None:
        try:
            self._take(opcode, body, (self._size if end is None else end) - body)
        except DamageError as error:
            self._found.notes.append(str(error))
        return end

    def _take(self, opcode: int, at: int, length: int) -> None:
        found, file = self._found, self._file
        if self._data_end is not None and opcode in _DATA and not self._salvage:
            raise DamageError(f"data behind their end, at byte {at}")
        if opcode == mcap.CHUNK:
            found.chunks.append(self._salvaged_chunk(at, length) if self._salvage else self._chunk(at, length))
        elif opcode == mcap.MESSAGE_INDEX and found.chunks:
            self._take_list(found.chunks[-1], at, length)
        elif opcode == mcap.MESSAGE:
            self._take_message(at, length)
        elif opcode == mcap.ATTACHMENT:
            found.attachments += 1
            self._check_attachment(at, length)
        elif opcode in (mcap.SCHEMA, mcap.CHANNEL, mcap.METADATA, mcap.STATISTICS, mcap.DATA_END):
            if length > _LARGEST_RECORD:
                raise DamageError(f"a record of {length} bytes at byte {at}, where some thousand are usual")
            content = file.read(at, length)
            if opcode == mcap.METADATA:
                name, behind = read_text(content, 0)
                found.metadata[name] = read_texts(content, behind)
            elif opcode == mcap.STATISTICS:
                # Some writers leave the numbers out.
                self._statistics = int.from_bytes(content[:8], "little") or None
            elif opcode == mcap.DATA_END:
                self._data_crc = int.from_bytes(content[:4], "little")
                self._data_end = (at - 9, len(found.chunks) + len(found.loose))
            else:
                (found.tables if self._data_end is None else self._summary).take(opcode, content)

    def _take_message(self, at: int, length: int) -> None:
        if length < 22:
            raise DamageError(f"a message of {length} bytes at byte {at}")
        channel, _, ns, _ = MESSAGE_HEAD.unpack(self._file.read(at, 22))
        if ns >= 2**63:
            raise DamageError(f"the message at byte {at} is from a time that can't be")
        self._found.loose.append((ns, at - 9, channel))
        refuse_too_many(len(self._found.loose))

    def _chunk(self, at: int, length: int) -> Chunk:
        head = self._file.read(at, min(length, 80))
        if len(head) < 40:
            raise DamageError(f"a chunk of {length} bytes at byte {at}")
        _, _, plain, checksum, name_length = struct.unpack_from("<QQQII", head)
        if name_length > 16 or len(head) < 40 + name_length:
            raise DamageError(f"the chunk at byte {at} names no compression")
        compression = head[32 : 32 + name_length].decode("utf-8", "replace")
        (stored,) = struct.unpack_from("<Q", head, 32 + name_length)
        if 40 + name_length + stored > length:
            raise DamageError(f"the chunk at byte {at} holds more than its record")
        if compression not in mcap.COMPRESSIONS:
            raise DamageError(f"the chunk at byte {at} is compressed with '{compression}', which is unknown")
        if plain > LARGEST_CHUNK:
            raise DamageError(f"the chunk at byte {at} is to become {plain} bytes; at most {LARGEST_CHUNK} are read")
        return Chunk(at + 40 + name_length, stored, plain, checksum, compression)

    def _salvaged_chunk(self, at: int, length: int) -> Chunk:
        """Return a chunk, any of whose sizes may be wrong: its checksum tells whether it was read right."""
        head = self._file.read(at, min(length, 80))
        if len(head) < 40:
            raise DamageError(f"a chunk of {length} bytes at byte {at}")
        plain, checksum = struct.unpack_from("<QI", head, 16)
        compression, offset, stored = chunk_sizes(head, length)
        most = min(max(length - offset, 0), LARGEST_CHUNK)
        return Chunk(
            at + offset, min(stored, most), min(plain, LARGEST_CHUNK), checksum, compression, doubtful=True, most=most
        )

    def _take_list(self, chunk: Chunk, at: int, length: int) -> None:
        if length > 16 * MOST_MESSAGES or length < 6:
            raise DamageError(f"a list of messages of {length} bytes at byte {at}")
        content = self._file.read(at, length)
        channel, bytes_ = struct.unpack_from("<HI", content)
        if bytes_ % 16 or bytes_ > length - 6:
            raise DamageError(f"the list of messages at byte {at} is longer than its record")
        pairs = np.frombuffer(content, "<i8", bytes_ // 8, 6).reshape(-1, 2)
        entries = np.empty(len(pairs), ENTRY)
        entries["ns"], entries["offset"], entries["channel"] = pairs[:, 0], pairs[:, 1], channel
        chunk.lists = [*(chunk.lists or []), entries]

    def _take_footer(self, at: int, end: int) -> None:
        self._footer = (at, self._file.read(at + 9, 20))
        if self._file.read(end, len(mcap.MAGIC)) != mcap.MAGIC:
            self._cut("the file ends behind its footer")

    def _cut(self, note: str) -> None:
        self._found.notes.append(note)
        if self._found.chunks:
            # Its lists come one for each topic: some of them may be missing.
            self._found.chunks[-1].lists = None

    def _cut_record(self, opcode: int, at: int) -> None:
        """Take what there is of the record in which the file ends."""
        self._cut(f"the file ends inside a record, at byte {self._size}: its recorder was ended, or a copy was cut")
        if opcode == mcap.CHUNK and self._size - at >= _CHUNK_HEAD:
            chunk = self._salvaged_chunk(at, self._size - at) if self._salvage else self._chunk(at, 2**62)
            chunk.stored, chunk.cut = min(self._size - chunk.offset, LARGEST_CHUNK), True
            self._found.chunks.append(chunk)

    # --- checksums -----------------------------------------------------------------------------------------------

    def _use_summary(self) -> None:
        """Take what the summary tells, unless it was changed."""
        if self._footer is None or len(self._footer[1]) < 20:
            return
        at, content = self._footer
        start, _, checksum = struct.unpack("<QQI", content)
        found = self._file.checksum(start if 0 < start <= at else at, at + 25) if checksum else 0
        if found != checksum:
            self._found.changed = True
            self._found.notes.append(
                "its summary has another checksum than was recorded, so the records themselves were listed"
            )
            return
        # Where both tell something else, what lies with the data holds.
        self._summary.merge(self._found.tables)
        self._found.tables.schemas, self._found.tables.topics = self._summary.schemas, self._summary.topics
        self._found.tables.conflicts = self._summary.conflicts
        self._found.statistics = self._statistics

    def _check_data(self) -> None:
        """Compare the checksum of all data, where one was recorded and something has none of its own."""
        found = self._found
        if self._data_end is None or not self._data_crc:
            return
        own = all(chunk.checksum for chunk in found.chunks) and not found.loose and not found.metadata
        if own and not found.tables.schemas and not found.tables.topics:
            return
        if self._file.checksum(0, self._data_end[0]) != self._data_crc:
            note = "its data have another checksum than was recorded"
            if not self._salvage:
                raise DamageError(note)
            found.notes.append(note)

    def _check_attachment(self, at: int, length: int) -> None:
        head = self._file.read(at, min(length, 1 << 16))
        _, behind = read_text(head, 16)
        _, behind = read_text(head, behind)
        end = behind + 8 + int.from_bytes(head[behind : behind + 8], "little")
        if len(head) < behind + 8 or end + 4 > length:
            raise DamageError(f"the attachment at byte {at} is longer than its record")
        checksum = int.from_bytes(self._file.read(at + end, 4), "little")
        if checksum and self._file.checksum(at, at + end) != checksum:
            raise DamageError(f"the attachment at byte {at} has another checksum than was recorded")


def refuse_too_many(count: int) -> None:
    """Raise LimitError where a list of so many messages would need more memory than there is."""
    if count > MOST_MESSAGES:
        raise LimitError(f"holds more than {MOST_MESSAGES} messages; split it, with `mcap filter` say")
