# SPDX-License-Identifier: Apache-2.0
"""Reads rosbag2's SQLite files (``.db3``), what Humble's recorder writes when nothing else is asked for.

The reader of ``rosbags`` opens them as unchanging, without what a killed recorder left in its log, and looks neither at
the types of what is stored nor at its size.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.episodes.bags.mcap_records import LARGEST_CHUNK
from swiftvla_ros.episodes.bags.message_types import BagError, Channel, PassedOver
from swiftvla_ros.episodes.bags.unpacking import Source, temporary_folder

# Bytes 18 and 19 of a database whose changes go into a log first.
_WAL_MODE = b"\x02\x02"


class SqliteFile:
    """One SQLite file of a bag; the same interface as :class:`~swiftvla_ros.episodes.bags.mcap_reader.McapFile`.

    Raises
    ------
    BagError
        No database of rosbag2's, or a damaged one.
    """

    def __init__(self, path: Path, source: Source | None = None) -> None:
        self.path = path
        self.metadata: dict[str, dict[str, str]] = {}
        self.channels: dict[int, Channel] = {}
        self.passed_over: list[PassedOver] = []
        if not path.is_file():
            raise BagError(f"{path}: can't be read: no such file")
        self._source, self._options = _place(path, source or Source(path))
        self.damage = self._source.damage
        foreign: dict[int, tuple[str, str]] = {}
        with closing(self._open()) as database:
            try:
                definitions = self._definitions(database)
                for number, topic, msgtype, encoding in database.execute(
                    "SELECT id, name, type, serialization_format FROM topics"
                ):
                    if encoding != "cdr":
                        foreign[int(number)] = (str(topic), str(encoding))
                        continue
                    language, text = definitions.get(msgtype, ("ros2msg", ""))
                    self.channels[int(number)] = Channel(str(topic), str(msgtype), text, language)
                # A column of SQLite's holds values of any type, whatever it was declared as.
                (wrong,) = database.execute(
                    "SELECT count(*) FROM messages WHERE typeof(topic_id) != 'integer' "
                    "OR typeof(timestamp) != 'integer' OR typeof(data) != 'blob'"
                ).fetchone()
                rows = database.execute(
                    "SELECT topic_id, count(*), max(length(data)), min(timestamp), max(timestamp) FROM messages "
                    "GROUP BY topic_id"
                ).fetchall()
            except (sqlite3.Error, TypeError, ValueError) as error:
                raise BagError(
                    f"{path}: no database of rosbag2's, or damaged: {error}; copy it again, or get its messages out "
                    f"with `sqlite3 {path.name} .recover | sqlite3 NEW.db3`"
                ) from error
        if wrong:
            raise BagError(f"{path}: damaged: topic, time or data of {wrong} messages are of a wrong type")
        self._counts = {number: count for number, count, *_ in rows}
        largest = max((size for _, _, size, _, _ in rows), default=0)
        if largest > LARGEST_CHUNK:
            raise BagError(f"{path}: a message has {largest} bytes; at most {LARGEST_CHUNK} are read")
        if unknown := set(self._counts) - set(self.channels) - set(foreign):
            raise BagError(
                f"{path}: damaged: messages of the topics number {sorted(unknown)[:5]}, which are not listed"
            )
        self.passed_over = [PassedOver(*topic, self._counts.get(number, 0)) for number, topic in foreign.items()]
        own = [(int(first), int(last)) for number, _, _, first, last in rows if number in self.channels]
        self._span = (min(first for first, _ in own), max(last for _, last in own)) if own else None

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._source.path.resolve().as_uri()}?{self._options}", uri=True)

    @staticmethod
    def _definitions(database: sqlite3.Connection) -> dict[str, tuple[str, str]]:
        """Return (language, text) by type; Humble stores none."""
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "message_definitions" not in tables:
            return {}
        rows = database.execute("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions")
        return {str(name): (str(language), str(text)) for name, language, text in rows}

    def counts(self) -> dict[int, int]:
        """Count the messages of each channel."""
        return {number: int(self._counts.get(number, 0)) for number in self.channels}

    def span(self) -> tuple[int, int] | None:
        """Return the first and last time of reception, ns; None without a message."""
        return self._span

    def times(self, channel: int) -> NDArray[np.int64]:
        """Return the times of reception (ns) of a channel's messages, in order."""
        with closing(self._open()) as database:
            rows = database.execute("SELECT timestamp FROM messages WHERE topic_id = ? ORDER BY timestamp", (channel,))
            return np.array([ns for (ns,) in rows], np.int64)

    def messages(
        self, channels: Collection[int], start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[tuple[int, int, bytes]]:
        """Yield (time of reception, channel, data) in the order of reception; ``end_ns`` itself is not in it."""
        numbers = [int(c) for c in channels]
        query = (
            f"SELECT timestamp, topic_id, data FROM messages WHERE topic_id IN ({','.join('?' * len(numbers))}) "  # noqa: S608
            "AND timestamp >= ? AND timestamp < ? ORDER BY timestamp, id"
        )
        bounds = (-(2**63) if start_ns is None else start_ns, 2**63 - 1 if end_ns is None else end_ns)
        with closing(self._open()) as database:
            try:
                for ns, channel, data in database.execute(query, (*numbers, *bounds)):
                    yield int(ns), int(channel), data
            except sqlite3.Error as error:
                raise BagError(f"{self.path}: damaged: {error}") from error


def _place(path: Path, source: Source) -> tuple[Source, str]:
    """Return where to read a database, and with which options, so that nothing is written beside it.

    SQLite makes files of its own beside one in WAL mode even to read it, and fails where it can't. What a killed
    recorder left in its log is part of the database, so both are copied then.
    """
    try:
        with source.path.open("rb") as file:
            head = file.read(20)
        logs = [Path(f"{source.path}{suffix}") for suffix in ("-wal", "-journal")]
        logs = [log for log in logs if log.is_file() and log.stat().st_size > 0]
        if not logs:
            return source, "immutable=1" if head[18:20] == _WAL_MODE else "mode=ro"
        folder = temporary_folder(path, sum(file.stat().st_size for file in (source.path, *logs)))
        for part in (*logs, source.path):
            shutil.copyfile(part, Path(folder.name) / part.name)
    except OSError as error:
        raise BagError(f"{path}: can't be read: {error.strerror or error}") from error
    return Source(Path(folder.name) / source.path.name, folder, source.damage), "mode=rw"
