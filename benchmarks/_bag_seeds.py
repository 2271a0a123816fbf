# SPDX-License-Identifier: Apache-2.0
"""Small whole bags of every kind that is read, for ``bag_fuzz.py`` to damage."""

import sqlite3
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from backports import zstd
from mcap.writer import Writer

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import known_types
from swiftvla_ros.episodes.bags.writer import BagWriter

_HEAD = struct.Struct("<BQ")


@dataclass(frozen=True)
class Seed:
    """A whole bag to damage: its folder, the file, and what is in it."""

    folder: Path
    file: Path
    content: bytes
    metadata: bytes
    messages: list[tuple[int, str, bytes]]
    definitions: dict[str, str]
    # Checksums cover all that is in it.
    checked: bool


def make_seeds(folder: Path, contract: Contract) -> list[Seed]:
    """Write small bags of every kind that is read."""
    seeds = []
    for compression in ("", "zstd", "lz4"):
        for ros in ("humble", "jazzy"):
            path = folder / f"{ros}-{compression or 'plain'}"
            with BagWriter(path, contract, ros=ros, compression=compression) as writer:
                for i, (topic, message) in enumerate(make_messages(contract)):
                    writer.write_message(topic, message, 10**18 + i * 10**7)
                    if i % 12 == 11:
                        writer.flush()
            seeds.append(_seed(path, path / f"{path.name}.mcap", checked=True))
    plain = seeds[0]
    seeds.append(_seed(*loose(plain, folder / "loose")))
    seeds.append(_seed(*database(plain, folder / "database")))
    seeds.append(_seed(*logged(seeds[-1], folder / "logged")))
    seeds.append(_seed(*packed_file(plain, folder / "packed_file")))
    seeds.append(_seed(*packed_file(seeds[7], folder / "packed_database")))
    seeds.append(_seed(*packed_messages(plain, contract, folder / "packed_messages"), checked=True))
    seeds.append(_seed(*mixed(plain, folder / "mixed")))
    return seeds


def _seed(folder: Path, file: Path, *, checked: bool = False) -> Seed:
    metadata = folder / "metadata.yaml"
    bag = Bag(folder)
    messages = [(m.received_ns, m.topic, m.data) for m in bag.raw()]
    assert len(messages) == 60, "a seed is whole"
    definitions = {topic: channel.definition for topic, channel in bag.channels.items()}
    text = metadata.read_bytes() if metadata.is_file() else b""
    return Seed(folder, file, file.read_bytes(), text, messages, definitions, checked)


def make_messages(contract: Contract) -> list[tuple[str, Any]]:
    """Make messages with numbers, texts, lists of texts and images."""
    kinds = known_types().types
    result: list[tuple[str, Any]] = []
    for i in range(20):
        stamp = kinds["builtin_interfaces/msg/Time"](1000 + i, 5)
        header = kinds["std_msgs/msg/Header"](stamp, "base")
        numbers = np.arange(6.0)
        state = kinds["sensor_msgs/msg/JointState"](header, list(contract.joint_names), numbers, numbers, numbers[:0])
        verdict = kinds["swiftvla_ros/msg/TaskVerdict"](header, "pick up the red block", 1, int(i > 15), "done")
        image = kinds["sensor_msgs/msg/Image"](header, 4, 4, "rgb8", 0, 12, np.zeros(48, np.uint8))
        result += [("/arm/observation/state", state), ("/arm/task_verdict", verdict), ("/arm/observation/front", image)]
    return result


def records(content: bytes) -> list[tuple[int, int, int]]:
    """Return (opcode, begin, end) of a whole file's records."""
    found, at = [], 8
    while at + 9 <= len(content) - 8:
        opcode, length = _HEAD.unpack_from(content, at)
        if at + 9 + length > len(content):
            break
        found.append((opcode, at, at + 9 + length))
        at += 9 + length
    return found


def loose(seed: Seed, folder: Path) -> tuple[Path, Path]:
    """Write the same messages outside of chunks and without metadata.yaml, as small recorders do."""
    folder.mkdir()
    content = bytearray(seed.content[:8])
    for opcode, begin, end in records(seed.content):
        if opcode == 0x06:
            (size,) = struct.unpack_from("<I", seed.content, begin + 9 + 28)
            content += seed.content[begin + 9 + 40 + size : end]
        elif opcode in (0x01, 0x02, 0x0C, 0x0F):
            content += seed.content[begin:end]
    content += seed.content[-8:]
    file = folder / "loose.mcap"
    file.write_bytes(content)
    return folder, file


def database(seed: Seed, folder: Path) -> tuple[Path, Path]:
    """Write the same messages as Humble's recorder does by default."""
    folder.mkdir()
    file = folder / "database_0.db3"
    bag = Bag(seed.folder)
    with sqlite3.connect(file) as connection:
        connection.execute(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT, "
            "offered_qos_profiles TEXT)"
        )
        connection.execute(
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)"
        )
        numbers = {topic: i + 1 for i, topic in enumerate(bag.counts)}
        connection.executemany(
            "INSERT INTO topics VALUES(?, ?, ?, 'cdr', '')", [(n, t, bag.types[t]) for t, n in numbers.items()]
        )
        connection.executemany(
            "INSERT INTO messages(topic_id, timestamp, data) VALUES(?, ?, ?)",
            [(numbers[m.topic], m.received_ns, m.data) for m in bag.raw()],
        )
    connection.close()
    return folder, file


def logged(seed: Seed, folder: Path) -> tuple[Path, Path]:
    """Write the same database as one whose changes go into a log first."""
    folder.mkdir()
    file = folder / "logged_0.db3"
    file.write_bytes(seed.content[:18] + b"\x02\x02" + seed.content[20:])
    return folder, file


def packed_file(seed: Seed, folder: Path) -> tuple[Path, Path]:
    """Write the same file as rosbag2 compresses it as a whole."""
    folder.mkdir()
    file = folder / f"{seed.file.name}.zstd"
    file.write_bytes(zstd.compress(seed.content))
    return folder, file


def packed_messages(seed: Seed, contract: Contract, folder: Path) -> tuple[Path, Path]:
    """Write the same messages as rosbag2 compresses each of them."""
    with BagWriter(folder, contract) as writer:
        for i, message in enumerate(Bag(seed.folder).raw()):
            writer.write(message.topic, message.msgtype, message.received_ns, zstd.compress(message.data))
            if i % 12 == 11:
                writer.flush()
    return folder, folder / f"{folder.name}.mcap"


def mixed(seed: Seed, folder: Path) -> tuple[Path, Path]:
    """Write the same messages with the official writer, with topics of others, an attachment and all checksums."""
    folder.mkdir()
    file = folder / "mixed.mcap"
    bag = Bag(seed.folder)
    with file.open("wb") as stream:
        writer = Writer(stream, chunk_size=2000, repeat_schemas=False, enable_data_crcs=True)
        writer.start("ros2", "")
        note = writer.register_channel("/note", "json", writer.register_schema("note", "jsonschema", b"{}"))
        writer.add_attachment(0, 0, "notes", "text/plain", b"x" * 100)
        numbers = {}
        for topic, channel in bag.channels.items():
            schema = writer.register_schema(channel.msgtype, channel.language, channel.definition.encode())
            numbers[topic] = writer.register_channel(topic, "cdr", schema)
        for message in bag.raw():
            writer.add_message(numbers[message.topic], message.received_ns, message.data, message.received_ns)
            writer.add_message(note, message.received_ns, b"{}", message.received_ns)
        writer.finish()
    return folder, file
