# SPDX-License-Identifier: Apache-2.0
"""Bags that rosbag2 compressed, that hold other things than ROS 2's messages, or that lack parts (A5 to A11)."""

import shutil
import sqlite3
import struct
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcap.writer import CompressionType, IndexType, Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Rosbag2Writer
from rosbags.rosbag2.writer import CompressionFormat, CompressionMode
from rosbags.typesys import Stores, get_typestore
from typer.testing import CliRunner

from swiftvla_ros.cli.main import app
from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.bags.writer import BagWriter

_TEXT = "std_msgs/msg/String"
_COUNT = 40


def text(i: int) -> bytes:
    """Return the CDR bytes of the i-th message."""
    data = f"{i}".encode() + b"\0"
    return b"\0\1\0\0" + len(data).to_bytes(4, "little") + data


WRITTEN = [("/a", 1000 + i, text(i)) for i in range(_COUNT)]


def content(bag: Bag) -> list[tuple[str, int, bytes]]:
    """Return what a bag holds."""
    return [(m.topic, m.received_ns, m.data) for m in bag.raw()]


def write_bag(folder: Path, storage: StoragePlugin, mode: CompressionMode | None = None, count: int = _COUNT) -> Path:
    """Write a bag as rosbag2 does."""
    writer = Rosbag2Writer(folder, version=9, storage_plugin=storage)
    if mode is not None:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/a", _TEXT, typestore=get_typestore(Stores.ROS2_JAZZY))
        for i in range(count):
            writer.write(connection, 1000 + i, text(i))
    return folder


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("mode", [None, CompressionMode.FILE, CompressionMode.MESSAGE, CompressionMode.STORAGE])
def test_every_compression_of_rosbag2_is_read(
    tmp_path: Path, storage: StoragePlugin, mode: CompressionMode | None
) -> None:
    """Protects: compressed bags are read as others are, also one file of them alone (report A5)."""
    if (storage, mode) == (StoragePlugin.SQLITE3, CompressionMode.STORAGE):
        pytest.skip("SQLite has no compression of its own")
    folder = write_bag(tmp_path / "bag", storage, mode)
    (file,) = (f for f in folder.iterdir() if f.name != "metadata.yaml")
    for path in (folder, file):
        bag = Bag(path)
        assert (content(bag), bag.damage) == (WRITTEN, "")
        assert [m.data for _, m in bag.messages("a")] == [str(i) for i in range(_COUNT)]
    (folder / "metadata.yaml").unlink()
    assert content(Bag(folder)) == WRITTEN


def test_a_compressed_file_that_was_cut_is_told(tmp_path: Path) -> None:
    """Protects: half a compressed file is not taken for the whole one (report A5)."""
    folder = write_bag(tmp_path / "bag", StoragePlugin.MCAP, CompressionMode.FILE)
    (file,) = folder.glob("*.zstd")
    file.write_bytes(file.read_bytes()[:-100])
    try:
        assert "unpacked up to byte" in Bag(folder).damage
    except BagError as error:
        assert str(file) in str(error)  # noqa: PT017 - where the frame has one block only, nothing is left of it


def test_a_compressed_message_that_is_damaged_is_named(tmp_path: Path) -> None:
    """Protects: what can't be unpacked is refused with its topic and time, not decoded (report A5)."""
    folder = write_bag(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.MESSAGE)
    (file,) = folder.glob("*.db3")
    with sqlite3.connect(file) as database:
        database.execute("UPDATE messages SET data = substr(data, 1, length(data) - 3) WHERE id = 3")
    database.close()
    with pytest.raises(BagError, match=r"/a at 0\.000 s: damaged: its zstd frame"):
        content(Bag(folder))


def write_mcap(path: Path, foreign: tuple[str, str] | None = None, **options: Any) -> Path:
    """Write an MCAP file with another topic, of this encoding and with a definition in this language, beside /a."""
    with path.open("wb") as stream:
        writer = Writer(stream, **options)
        writer.start("ros2", "x")
        channel = writer.register_channel("/a", "cdr", writer.register_schema(_TEXT, "ros2msg", b"string data\n"))
        if foreign is not None:
            encoding, language = foreign
            schema = writer.register_schema("note", language, b"{}") if language else 0
            other = writer.register_channel("/other", encoding, schema)
            writer.add_message(other, 500, b"{}", 500)
        for i in range(_COUNT):
            writer.add_message(channel, 1000 + i, text(i), 1000 + i)
        writer.finish()
    return path


@pytest.mark.parametrize(
    "foreign",
    [
        ("json", "jsonschema"),
        ("protobuf", "protobuf"),
        ("flatbuffer", "flatbuffer"),
        ("ros1", "ros1msg"),
        ("cdr", ""),
        ("json", ""),
        ("", ""),
    ],
)
def test_topics_that_are_not_ros2s_are_passed_over_and_named(tmp_path: Path, foreign: tuple[str, str]) -> None:
    """Protects: one annotation in JSON does not make a recording "damaged" (report A6)."""
    bag = Bag(write_mcap(tmp_path / "a.mcap", foreign))
    assert (content(bag), bag.damage, bag.incomplete) == (WRITTEN, "", False)
    assert bag.start_ns == 1000
    (line,) = bag.warnings
    assert "/other" in line
    assert "passed over" in line


def test_a_file_without_any_topic_of_ros2_is_refused(tmp_path: Path) -> None:
    """Protects: a bag of ROS 1 or of another program is named as that, not shown as empty (report A6)."""
    path = tmp_path / "a.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start("ros1", "x")
        schema = writer.register_schema("std_msgs/String", "ros1msg", b"string data")
        writer.add_message(writer.register_channel("/a", "ros1", schema), 1, b"\0\0\0\0", 1)
        writer.finish()
    with pytest.raises(BagError, match=r"not of ROS 2: /a \(ros1, 1 messages\)"):
        Bag(path)


@pytest.mark.parametrize(
    "options",
    [
        {"repeat_schemas": False},
        {"repeat_channels": False},
        {"repeat_schemas": False, "repeat_channels": False},
        {"repeat_schemas": False, "use_chunking": False},
        {"use_statistics": False, "index_types": IndexType.NONE},
        {"index_types": IndexType.NONE, "repeat_schemas": False, "repeat_channels": False},
        {"use_summary_offsets": False, "enable_crcs": False},
        {"enable_data_crcs": True},
        {"enable_data_crcs": True, "use_chunking": False},
    ],
)
@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.ZSTD])
def test_what_a_summary_may_leave_out_is_found(
    tmp_path: Path, options: dict[str, Any], compression: CompressionType
) -> None:
    """Protects: definitions that lie only inside chunks, and files without lists, are read (report A9)."""
    path = write_mcap(tmp_path / "a.mcap", ("json", "jsonschema"), compression=compression, chunk_size=300, **options)
    bag = Bag(path)
    assert (content(bag), bag.damage) == (WRITTEN, "")
    assert bag.types == {"/a": _TEXT}


def records(content: bytes) -> list[tuple[int, int, int]]:
    """Return (opcode, begin, end) of a file's records."""
    found, at = [], 8
    while at < len(content) - 8:
        opcode, length = struct.unpack_from("<BQ", content, at)
        found.append((opcode, at, at + 9 + length))
        at += 9 + length
    return found


@pytest.mark.parametrize("field", ["record", "plain", "name", "stored"])
@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.ZSTD])
def test_a_wrong_size_in_a_chunks_head_loses_nothing(tmp_path: Path, field: str, compression: CompressionType) -> None:
    """Protects: one wrong number in one head is refused with the way out, and salvage reads all (report A7)."""
    path = write_mcap(tmp_path / "a.mcap", compression=compression, chunk_size=300)
    whole = path.read_bytes()
    begin = [begin for opcode, begin, _ in records(whole) if opcode == 0x06][1]
    (name,) = struct.unpack_from("<I", whole, begin + 37)
    place, width = {"record": (1, 8), "plain": (25, 8), "name": (37, 4), "stored": (41 + name, 8)}[field]
    size = int.from_bytes(whole[begin + place :][:width], "little")
    for wrong in (size + 1, size + 1000, 256**width - 1):
        path.write_bytes(whole[: begin + place] + wrong.to_bytes(width, "little") + whole[begin + place + width :])
        with pytest.raises(BagError, match="swiftvla record NEW --repair"):
            content(Bag(path))
        assert content(Bag(path, salvage=True)) == WRITTEN


def test_messages_outside_of_chunks_are_found_behind_a_wrong_size(tmp_path: Path) -> None:
    """Protects: also a file without chunks gives what is whole in it (report A7)."""
    path = write_mcap(tmp_path / "a.mcap", use_chunking=False)
    whole = path.read_bytes()
    begin = [begin for opcode, begin, _ in records(whole) if opcode == 0x05][20]
    path.write_bytes(whole[: begin + 1] + (1 << 50).to_bytes(8, "little") + whole[begin + 9 :])
    with pytest.raises(BagError, match="more than the file"):
        Bag(path)
    bag = Bag(path, salvage=True)
    assert len(set(WRITTEN) - set(content(bag))) <= 2
    assert set(content(bag)) <= set(WRITTEN)
    assert bag.incomplete


@pytest.mark.parametrize("options", [{}, {"use_chunking": False}])
def test_a_changed_bit_is_told_and_changes_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    """Protects: no bit of the summary, and of what has checksums, changes a definition or a message (report A8)."""
    path = write_mcap(tmp_path / "a.mcap", enable_data_crcs=True, **options)
    whole, expected = path.read_bytes(), Bag(path)
    definitions = {topic: channel.definition for topic, channel in expected.channels.items()}
    summary = next(end for opcode, _, end in records(whole) if opcode == 0x0F)
    for at in [*range(60, summary - 40, 97), *range(summary, len(whole) - 8, 13)]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            bag = Bag(path)
            assert content(bag) == WRITTEN
            assert {topic: channel.definition for topic, channel in bag.channels.items()} == definitions
            assert bag.damage or at < summary
        except BagError:
            assert at < summary


def test_a_changed_attachment_is_refused(tmp_path: Path) -> None:
    """Protects: an attachment's checksum is compared, too (report A8)."""
    path = tmp_path / "a.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start("ros2", "x")
        writer.add_attachment(0, 0, "notes", "text/plain", b"x" * 100)
        writer.finish()
    assert Bag(path).damage == ""
    path.write_bytes(path.read_bytes().replace(b"xxxx", b"xxyx", 1))
    with pytest.raises(BagError, match="the attachment at byte"):
        Bag(path)
    assert "the attachment" in Bag(path, salvage=True).damage


def test_a_contract_that_was_changed_in_a_lone_file_is_refused(contract: Contract, tmp_path: Path) -> None:
    """Protects: the contract in a file's metadata is held to its hash, as the one in the folder is (report A8)."""
    with BagWriter(tmp_path / "bag", contract):
        pass
    content = (tmp_path / "bag" / "bag.mcap").read_bytes()
    lone = tmp_path / "lone.mcap"
    lone.write_bytes(content)
    assert Bag(lone).contract.robot == contract.robot
    lone.write_bytes(content.replace(b"velocity: 2.5", b"velocity: 9.5", 1))
    with pytest.raises(BagError, match="was changed"):
        _ = Bag(lone).contract


@pytest.fixture
def split_bag(tmp_path: Path) -> Path:
    """Make a bag of five parts of eight messages."""
    folder = tmp_path / "split"
    folder.mkdir()
    for part in range(5):
        lone = write_bag(tmp_path / f"part{part}", StoragePlugin.MCAP, count=8)
        shutil.copy(next(lone.glob("*.mcap")), folder / f"split_{part}.mcap")
    metadata = yaml.safe_load((tmp_path / "part0" / "metadata.yaml").read_text())
    information = metadata["rosbag2_bagfile_information"]
    information["relative_file_paths"] = [f"split_{part}.mcap" for part in range(5)]
    information["message_count"] = 40
    information["topics_with_message_count"][0]["message_count"] = 40
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    return folder


def change(folder: Path, **values: Any) -> None:
    """Change values in a bag's metadata.yaml."""
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    metadata["rosbag2_bagfile_information"].update(values)
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))


def test_parts_that_are_not_listed_are_told_by_every_command(split_bag: Path) -> None:
    """Protects: 16 of 40 messages are not taken for all, by any command (report A11)."""
    assert Bag(split_bag).warnings == []
    change(split_bag, relative_file_paths=["split_0.mcap", "split_1.mcap"])
    bag = Bag(split_bag)
    assert (sum(bag.counts.values()), bag.incomplete) == (16, True)
    assert "lists 2 of the 5 files: split_2.mcap, split_3.mcap, split_4.mcap is not read" in bag.damage
    assert "counts 40 messages, there are 16" in bag.damage
    assert sum(Bag(split_bag, salvage=True).counts.values()) == 40


def test_wrong_counts_are_told(split_bag: Path) -> None:
    """Protects: metadata.yaml and the files are compared by topic, also where the sums agree (report A11)."""
    entry = {"topic_metadata": {"name": "/b", "type": _TEXT, "serialization_format": "cdr"}, "message_count": 7}
    topics = yaml.safe_load((split_bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    change(split_bag, topics_with_message_count=[*topics["topics_with_message_count"], entry])
    bag = Bag(split_bag)
    assert bag.incomplete
    assert "/b: 7, there are 0" in bag.damage


def test_a_part_that_is_missing_is_refused_with_the_way_to_the_rest(split_bag: Path) -> None:
    """Protects: the sentence names the file, and the option that reads the others (report A11)."""
    (split_bag / "split_3.mcap").unlink()
    with pytest.raises(BagError, match=r"split_3\.mcap is missing.*swiftvla record NEW --repair"):
        Bag(split_bag)
    assert Bag(split_bag, salvage=True).incomplete


def test_a_command_shows_warnings_once_and_ends_with_an_error(split_bag: Path, tmp_path: Path) -> None:
    """Protects: what a reader knows to be missing is on the terminal and in the exit code (report A11)."""
    change(split_bag, relative_file_paths=["split_0.mcap", "split_1.mcap"])
    result = CliRunner().invoke(app, ["record", str(tmp_path / "whole"), "--repair", str(split_bag)])
    assert result.output.replace("\n", "").count("split_2.mcap, split_3.mcap, split_4.mcap is not listed and was") == 1
    assert "40 messages" in " ".join(result.output.split())
    assert result.exit_code == 0, "all of it was found"
    assert content(Bag(tmp_path / "whole")) == content(Bag(split_bag, salvage=True))


def test_commands_end_with_an_error_where_something_is_missing(tmp_path: Path) -> None:
    """Protects: what a reader knows to be missing is in every command's exit code (report A11)."""
    folder = tmp_path / "pick_red"
    shutil.copytree(Path(__file__).parents[2] / "replay" / "bags" / "pick_red", folder)
    whole = CliRunner().invoke(app, ["check-motion", str(folder)])
    change(folder, message_count=5000)
    result = CliRunner().invoke(app, ["check-motion", str(folder)])
    assert (whole.exit_code, result.exit_code) == (0, 1)
    assert "counts 5000 messages" in " ".join(result.output.split())
    assert whole.output in result.output


def logged_database(folder: Path, *, checkpointed: bool) -> Path:
    """Write a database as a recorder does that uses a log (WAL), and was killed or not."""
    write_bag(folder.parent / "source", StoragePlugin.SQLITE3)
    (source,) = (folder.parent / "source").glob("*.db3")
    work = folder.parent / "work.db3"
    shutil.copy(source, work)
    database = sqlite3.connect(work)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    database.execute("INSERT INTO messages SELECT 1000, topic_id, 5000, data FROM messages LIMIT 1")
    database.commit()
    folder.mkdir()
    if checkpointed:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(work, folder / "bag_0.db3")
    else:
        for suffix in ("", "-wal"):
            shutil.copy(f"{work}{suffix}", folder / f"bag_0.db3{suffix}")
    database.close()
    return folder


@pytest.mark.parametrize("checkpointed", [True, False])
def test_a_database_with_a_log_is_read_and_left_as_it_was(tmp_path: Path, checkpointed: bool) -> None:
    """Protects: a bag in WAL mode is read, its log too, and nothing is left beside it (report A10)."""
    folder = logged_database(tmp_path / "bag", checkpointed=checkpointed)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    bag = Bag(folder)
    assert [ns for _, ns, _ in content(bag)] == [*range(1000, 1040), 5000]
    assert bag.received_ns()["/a"][-1] == 5000
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
