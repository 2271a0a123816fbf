# SPDX-License-Identifier: Apache-2.0
"""Reads MCAP files record by record, trusting nothing: neither their summary nor their end needs to be there.

One pass over the heads of all records finds the chunks, the lists of messages behind them, the topics and the metadata.
A file that ends anywhere is read up to there. Memory is bounded whatever the file says of itself.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.episodes.bags import mcap_writer as mcap
from swiftvla_ros.episodes.bags.mcap_records import (
    ENTRY,
    HEAD,
    LARGEST_CHUNK,
    MESSAGE_HEAD,
    Chunk,
    DamageError,
    RecordFile,
    Tables,
    read_text,
    take_table,
    walk,
)
from swiftvla_ros.episodes.bags.message_types import BagError

# 30 hours of an arm with two cameras.
MOST_MESSAGES = 32_000_000
_LARGEST_RECORD = 16 << 20


class McapFile:
    """One MCAP file: its ``channels`` by number, its ``metadata`` records by name (the last of each), and its messages.

    With ``salvage``, chunks whose checksum or lists are wrong are passed over, instead of refusing the file.

    Raises
    ------
    BagError
        No MCAP file, damaged before its end (without ``salvage``), or larger than memory allows to list.
    """

    def __init__(self, path: Path, *, salvage: bool = False) -> None:
        self.path = path
        self._salvage = salvage
        self._notes: list[str] = []
        self._tables = Tables()
        self.channels = self._tables.channels
        self.metadata: dict[str, dict[str, str]] = {}
        self._chunks: list[Chunk] = []
        # Messages outside of chunks: time, offset, channel.
        self._loose: list[tuple[int, int, int]] = []
        self._statistics: int | None = None
        try:
            self._size = path.stat().st_size
            with RecordFile(path, self._chunks) as file:
                self._scan(file)
                self._index = self._list_all(file)
        except DamageError as error:
            raise BagError(f"{path}: damaged: {error}; what is left of it is read with salvage") from None
        except OSError as error:
            raise BagError(f"{path}: can't be read: {error.strerror}") from error

    @property
    def damage(self) -> str:
        """What is missing, for people; empty for a whole file."""
        return "; ".join(dict.fromkeys(self._notes))

    def counts(self) -> dict[int, int]:
        """Count the messages of each channel."""
        counts = np.bincount(self._index["channel"], minlength=1)
        return {number: int(counts[number]) if number < len(counts) else 0 for number in self.channels}

    def span(self) -> tuple[int, int] | None:
        """Return the first and last time of reception, ns; None without a message."""
        ns = self._index["ns"]
        return (int(ns.min()), int(ns.max())) if len(ns) else None

    def times(self, channel: int) -> NDArray[np.int64]:
        """Return the times of reception (ns) of a channel's messages, in order."""
        return np.sort(self._index["ns"][self._index["channel"] == channel])

    def messages(
        self, channels: Collection[int], start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[tuple[int, int, bytes]]:
        """Yield (time of reception, channel, data) in the order of reception; ``end_ns`` itself is not in it."""
        index = self._index
        wanted = np.isin(index["channel"], list(channels))
        if start_ns is not None:
            wanted &= index["ns"] >= start_ns
        if end_ns is not None:
            wanted &= index["ns"] < end_ns
        places = np.flatnonzero(wanted)
        # Stable: what came at one time keeps the order of the file.
        places = places[np.argsort(index["ns"][places], kind="stable")]
        with RecordFile(self.path, self._chunks) as file:
            for place in places.tolist():
                ns, offset, channel = index[place].item()
                number = int(np.searchsorted(self._firsts, place, side="right")) - 1
                try:
                    yield ns, channel, file.message(number if number < len(self._chunks) else None, offset, channel, ns)
                except DamageError as error:
                    raise BagError(f"{self.path}: damaged: {error}; what is left is read with salvage") from None

    # --- one pass over all records -------------------------------------------------------------------------------

    def _scan(self, file: RecordFile) -> None:
        if self._size == 0:
            raise BagError(f"{self.path}: an empty file; the recording never began")
        if file.read(0, 8) != mcap.MAGIC:
            raise BagError(f"{self.path}: not an MCAP file; is it a bag of something else?")
        at = 8
        while True:
            if at + 9 > self._size:
                self._cut("the file ends without a footer: its recorder was ended")
                return
            opcode, length = HEAD.unpack(file.read(at, 9))
            body, at = at + 9, at + 9 + length
            if opcode == 0:
                if self._lose(f"no record at byte {body - 9}"):
                    return
                raise DamageError(f"no record at byte {body - 9}")
            if at > self._size:
                self._cut_record(file, opcode, body)
                return
            if opcode == mcap.FOOTER:
                if file.read(at, 8) != mcap.MAGIC:
                    self._cut("the file ends behind its footer")
                return
            self._take(file, opcode, body, length)

    def _take(self, file: RecordFile, opcode: int, at: int, length: int) -> None:
        if opcode == mcap.CHUNK:
            self._chunks.append(self._chunk(file, at, length))
        elif opcode == mcap.MESSAGE_INDEX and self._chunks:
            self._take_list(file, self._chunks[-1], at, length)
        elif opcode == mcap.MESSAGE:
            if length < 22:
                raise DamageError(f"a message of {length} bytes at byte {at}")
            channel, _, ns, _ = MESSAGE_HEAD.unpack(file.read(at, 22))
            if ns >= 2**63:
                raise DamageError(f"the message at byte {at} is from a time that can't be")
            self._loose.append((ns, at - 9, channel))
            self._refuse_too_many(len(self._loose))
        elif opcode in (mcap.SCHEMA, mcap.CHANNEL, mcap.METADATA, mcap.STATISTICS):
            if length > _LARGEST_RECORD:
                raise DamageError(f"a record of {length} bytes at byte {at}, where some thousand are usual")
            content = file.read(at, length)
            if opcode == mcap.METADATA:
                self._take_metadata(content)
            elif opcode == mcap.STATISTICS:
                self._statistics = int.from_bytes(content[:8], "little")
            else:
                take_table(self._tables, opcode, content)

    def _chunk(self, file: RecordFile, at: int, length: int) -> Chunk:
        head = file.read(at, min(length, 80))
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

    def _take_list(self, file: RecordFile, chunk: Chunk, at: int, length: int) -> None:
        if length > 16 * MOST_MESSAGES or length < 6:
            raise DamageError(f"a list of messages of {length} bytes at byte {at}")
        content = file.read(at, length)
        channel, bytes_ = struct.unpack_from("<HI", content)
        if bytes_ % 16 or bytes_ > length - 6:
            raise DamageError(f"the list of messages at byte {at} is longer than its record")
        pairs = np.frombuffer(content, "<i8", bytes_ // 8, 6).reshape(-1, 2)
        entries = np.empty(len(pairs), ENTRY)
        entries["ns"], entries["offset"], entries["channel"] = pairs[:, 0], pairs[:, 1], channel
        chunk.lists = [*(chunk.lists or []), entries]

    def _take_metadata(self, content: bytes) -> None:
        name, at = read_text(content, 0)
        values, end = {}, at + 4 + int.from_bytes(content[at : at + 4], "little")
        at += 4
        while at < end:
            key, at = read_text(content, at)
            values[key], at = read_text(content, at)
        self.metadata[name] = values

    def _cut(self, note: str) -> None:
        self._notes.append(note)
        if self._chunks:
            # Its lists come one for each topic: some of them may be missing.
            self._chunks[-1].lists = None

    def _cut_record(self, file: RecordFile, opcode: int, at: int) -> None:
        """Take what there is of the record in which the file ends."""
        self._cut(f"the file ends inside a record, at byte {self._size}: its recorder was ended, or a copy was cut")
        if opcode == mcap.CHUNK and self._size - at >= 40:
            chunk = self._chunk(file, at, 2**62)
            chunk.stored, chunk.cut = min(self._size - chunk.offset, LARGEST_CHUNK), True
            self._chunks.append(chunk)

    # --- the list of all messages --------------------------------------------------------------------------------

    def _list_all(self, file: RecordFile) -> NDArray[np.void]:
        """List every message; chunk i's begin at ``_firsts[i]``, those outside of chunks come last."""
        listed = sum(len(part) for c in self._chunks for part in c.lists or [])
        # A summary that counts otherwise means that a list is missing: then the chunks themselves are asked.
        trusted = self._statistics is None or listed + len(self._loose) == self._statistics
        trusted &= not self._salvage
        parts: list[NDArray[np.void]] = []
        self._firsts: list[int] = []
        count = 0
        for number, chunk in enumerate(self._chunks):
            self._firsts.append(count)
            entries = np.concatenate(chunk.lists) if chunk.lists else np.empty(0, ENTRY)
            unknown = not set(np.unique(entries["channel"]).tolist()) <= set(self.channels)
            if not trusted or unknown or chunk.lists is None or chunk.cut:
                entries = self._list_chunk(file, number, chunk)
            else:
                entries = entries[np.argsort(entries["offset"], kind="stable")]
            chunk.lists = [entries]
            count += len(entries)
            self._refuse_too_many(count)
            parts.append(entries)
        self._firsts.append(count)
        parts.append(np.array(self._loose, ENTRY) if self._loose else np.empty(0, ENTRY))
        index = np.concatenate(parts)
        unknown_channels = set(np.unique(index["channel"]).tolist()) - set(self.channels)
        if unknown_channels:
            raise DamageError(f"messages of the topics number {sorted(unknown_channels)[:5]}, which no record names")
        if self._statistics is not None and len(index) != self._statistics:
            note = f"the summary counts {self._statistics} messages, the file holds {len(index)}"
            if not self._lose(note):
                raise DamageError(note)
        return index

    def _list_chunk(self, file: RecordFile, number: int, chunk: Chunk) -> NDArray[np.void]:
        """List the messages that a chunk itself holds, and take its topics."""
        try:
            return walk(file.data(number), self._tables, cut=chunk.cut)
        except DamageError as error:
            if chunk.cut or self._lose(str(error)):
                return np.empty(0, ENTRY)
            raise

    def _lose(self, note: str) -> bool:
        if self._salvage:
            self._notes.append(note)
        return self._salvage

    def _refuse_too_many(self, count: int) -> None:
        if count > MOST_MESSAGES:
            raise BagError(f"{self.path}: holds more than {MOST_MESSAGES} messages; split it, with `mcap filter` say")
