# SPDX-License-Identifier: Apache-2.0
"""Reads MCAP files record by record, trusting nothing: neither their summary nor their end needs to be there.

One pass over the heads of all records finds the chunks, the lists of messages behind them, the topics and the metadata.
A file that ends anywhere is read up to there. Memory is bounded whatever the file says of itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.episodes.bags import mcap_writer as mcap
from swiftvla_ros.episodes.bags.mcap_records import ENTRY, Chunk, DamageError, LimitError, RecordFile, Tables, walk
from swiftvla_ros.episodes.bags.mcap_scan import Contents, Scan, refuse_too_many
from swiftvla_ros.episodes.bags.message_types import BagError, Channel, PassedOver
from swiftvla_ros.episodes.bags.unpacking import Source

# So many messages are looked up at once: fast, and in little memory.
_ENTRIES = 1 << 14


class McapFile:
    """One MCAP file: its ``channels`` by number, its ``metadata`` records by name (the last of each), and its messages.

    ``passed_over`` are its topics that are not ROS 2's. With ``salvage``, chunks whose checksum or lists are wrong are
    passed over, and records are looked for behind what is damaged, instead of refusing the file.

    Raises
    ------
    BagError
        No MCAP file, damaged before its end (without ``salvage``), or larger than memory allows to list.
    """

    def __init__(self, path: Path, *, salvage: bool = False, source: Source | None = None) -> None:
        self.path = path
        self._source = source or Source(path)
        self._salvage = salvage
        self._found = Contents()
        self.metadata = self._found.metadata
        self.channels: dict[int, Channel] = {}
        self.passed_over: list[PassedOver] = []
        try:
            size = self._source.path.stat().st_size
            with RecordFile(self._source.path, self._found.chunks) as file:
                if size == 0:
                    raise BagError(f"{self.path}: an empty file; the recording never began")
                if file.read(0, 8) != mcap.MAGIC:
                    raise BagError(f"{self.path}: not an MCAP file; is it a bag of something else?")
                Scan(file, size, self._found, salvage=salvage).run()
                self._index = self._list_all(file)
            self._name_topics()
        except DamageError as error:
            raise self._damaged(error) from None
        except LimitError as error:
            raise BagError(f"{path}: {error}") from None
        except OSError as error:
            raise BagError(f"{path}: can't be read: {error.strerror}") from error

    def _damaged(self, error: DamageError) -> BagError:
        advice = (
            "" if self._salvage else f"; what is whole goes into a new bag: swiftvla record NEW --repair {self.path}"
        )
        return BagError(f"{self.path}: damaged: {error}{advice}")

    @property
    def damage(self) -> str:
        """What is missing, for people; empty for a whole file."""
        return "; ".join(dict.fromkeys(note for note in (self._source.damage, *self._found.notes) if note))

    def counts(self) -> dict[int, int]:
        """Count the messages of each channel."""
        counts = self._all_counts()
        return {number: counts.get(number, 0) for number in self.channels}

    def span(self) -> tuple[int, int] | None:
        """Return the first and last time of reception, ns; None without a message."""
        ns = self._index["ns"]
        if self.passed_over:
            ns = ns[np.isin(self._index["channel"], list(self.channels))]
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
        chunks = self._found.chunks
        try:
            with RecordFile(self._source.path, chunks) as file:
                for begin in range(0, len(places), _ENTRIES):
                    part = places[begin : begin + _ENTRIES]
                    numbers = np.searchsorted(self._firsts, part, side="right") - 1
                    for (ns, offset, channel), number in zip(index[part].tolist(), numbers.tolist(), strict=True):
                        where = number if number < len(chunks) else None
                        yield ns, channel, file.message(where, offset, channel, ns)
        except DamageError as error:
            raise self._damaged(error) from None

    # --- the list of all messages --------------------------------------------------------------------------------

    def _list_all(self, file: RecordFile) -> NDArray[np.void]:
        """List every message; chunk i's begin at ``_firsts[i]``, those outside of chunks come last."""
        found = self._found
        listed = sum(len(part) for c in found.chunks for part in c.lists or [])
        # A summary that counts otherwise means that a list is missing: then the chunks themselves are asked.
        trusted = found.statistics is None or listed + len(found.loose) == found.statistics
        # A summary that was changed says nothing of what is missing in the lists.
        trusted &= not self._salvage and not found.changed
        tables = found.tables
        parts: list[NDArray[np.void]] = []
        self._firsts: list[int] = []
        count = 0
        unread: list[int] = []
        for number, chunk in enumerate(found.chunks):
            self._firsts.append(count)
            entries = np.concatenate(chunk.lists) if chunk.lists else np.empty(0, ENTRY)
            described = _described(tables, _channels(entries))
            if not trusted or not described or chunk.lists is None or chunk.cut:
                entries = self._list_chunk(file, number, chunk)
            else:
                entries = entries[np.argsort(entries["offset"], kind="stable")]
                unread.append(number)
            chunk.lists = [entries]
            count += len(entries)
            refuse_too_many(count)
            parts.append(entries)
        self._firsts.append(count)
        parts.append(np.array(found.loose, ENTRY) if found.loose else np.empty(0, ENTRY))
        index = np.concatenate(parts)
        channels = _channels(index)
        # A topic, or its type, may be described in a chunk that holds no message of it.
        while unread and not _described(tables, channels):
            number = unread.pop()
            self._list_chunk(file, number, found.chunks[number])
        undescribed_topics = channels - set(tables.topics)
        if undescribed_topics:
            self._lose(f"messages of the topics number {sorted(undescribed_topics)[:5]}, which no record names")
        if tables.conflicts:
            self._lose(f"described twice, in different ways: {', '.join(sorted(tables.conflicts)[:5])}")
        if found.statistics is not None and len(index) != found.statistics:
            self._lose(f"the summary counts {found.statistics} messages, the file holds {len(index)}")
        return index

    def _list_chunk(self, file: RecordFile, number: int, chunk: Chunk) -> NDArray[np.void]:
        """List the messages that a chunk itself holds, and take its topics."""
        try:
            return walk(file.data(number), self._found.tables, cut=chunk.cut)
        except DamageError as error:
            if not chunk.cut:
                self._lose(str(error))
            return np.empty(0, ENTRY)

    def _name_topics(self) -> None:
        """Sort the topics into those of ROS 2 and the others; raises DamageError where a type is nowhere described."""
        counts = self._all_counts()
        for number, record in self._found.tables.topics.items():
            count = counts.get(number, 0)
            if not record.is_ros2:
                encoding = "cdr without a type" if record.encoding == "cdr" else record.encoding or "no encoding"
                self.passed_over.append(PassedOver(record.topic, encoding, count))
            elif record.schema in self._found.tables.schemas:
                name, language, definition = self._found.tables.schemas[record.schema]
                digest = record.digest if record.digest.startswith("RIHS01_") else ""
                self.channels[number] = Channel(record.topic, name, definition, language, digest)
            elif count:
                self._lose(f"topic {record.topic}: its type is number {record.schema}, which no record names")

    def _all_counts(self) -> dict[int, int]:
        numbers, counts = np.unique(self._index["channel"], return_counts=True)
        return dict(zip(numbers.tolist(), counts.tolist(), strict=True))

    def _lose(self, note: str) -> None:
        """Note what is wrong where what is whole shall be read; else raise it."""
        if not self._salvage:
            raise DamageError(note)
        self._found.notes.append(note)


def _channels(entries: NDArray[np.void]) -> set[int]:
    """Numbers of the topics that messages are of."""
    return set(np.unique(entries["channel"]).tolist())


def _described(tables: Tables, channels: set[int]) -> bool:
    """Whether these topics, and the types of all known ones, are described."""
    types = {topic.schema for topic in tables.topics.values() if topic.is_ros2}
    return channels <= set(tables.topics) and types <= set(tables.schemas)
