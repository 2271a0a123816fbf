# SPDX-License-Identifier: Apache-2.0
"""Bags that are cut, damaged, hostile or somebody else's: read as far as they go, or refused with what is wrong."""

import shutil
import sqlite3
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from backports import zstd
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.bags.metadata import OfferedQos
from swiftvla_ros.episodes.bags.repair import repair
from swiftvla_ros.episodes.bags.writer import BagWriter

S = 10**9


@pytest.fixture
def bag(contract: Contract, messages: Any, tmp_path: Path) -> Path:
    """Write 60 states of the arm in five chunks."""
    with BagWriter(tmp_path / "bag", contract, provenance={"parameters": '{"/policy": {"device": "cpu"}}'}) as writer:
        writer.add_topic("/arm/observation/state", "sensor_msgs/msg/JointState", OfferedQos(depth=5))
        for i in range(60):
            writer.write_message("/arm/observation/state", messages.measured(S + i, np.full(6, float(i))), S + i)
            if i % 12 == 11:
                writer.flush()
    return tmp_path / "bag"


def numbers(bag: Bag) -> list[float]:
    """Return what tells the messages apart."""
    return [float(m.position[0]) for _, m in bag.messages("observation/state")]


@pytest.mark.parametrize(("ros", "version", "qos"), [("humble", 5, str), ("jazzy", 9, list), ("kilted", 9, list)])
@pytest.mark.parametrize("compression", ["", "zstd", "lz4"])
def test_each_distribution_and_other_readers_read_it(
    contract: Contract, messages: Any, tmp_path: Path, ros: str, version: int, qos: type, compression: str
) -> None:
    """Protects: rosbag2 of the chosen distribution, rosbags and mcap open it, checksums and all."""
    folder = tmp_path / "bag"
    with BagWriter(folder, contract, ros=ros, compression=compression) as writer:
        writer.add_topic("/state", "sensor_msgs/msg/JointState", OfferedQos(latched=True))
        for i in range(30):
            writer.write_message("/state", messages.measured(S + i, np.full(6, float(i))), S + i)
    information = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert information["version"] == version
    topic = information["topics_with_message_count"][0]["topic_metadata"]
    assert isinstance(topic["offered_qos_profiles"], qos)
    assert ("type_description_hash" in topic) == (version >= 7)
    with Reader(folder) as reader:
        assert len(list(reader.messages())) == 30
        assert reader.connections[0].ext.offered_qos_profiles[0].durability.name == "TRANSIENT_LOCAL"
    with next(folder.glob("*.mcap")).open("rb") as stream:
        assert len(list(make_reader(stream, validate_crcs=True).iter_messages())) == 30
    assert numbers_of_state(Bag(folder)) == list(range(30))


def numbers_of_state(bag: Bag) -> list[float]:
    """Return what tells the messages of /state apart."""
    return [float(m.position[0]) for _, m in bag.messages("state")]


def test_the_command_line_of_rosbags_converts_it(bag: Path, tmp_path: Path) -> None:
    """Protects: other people's tools take our bags as they are."""
    program = Path(sys.executable).with_name("rosbags-convert")
    command = [str(program), "--src", str(bag), "--dst", str(tmp_path / "converted"), "--dst-version", "8"]
    subprocess.run(command, check=True, capture_output=True)
    assert numbers(Bag(tmp_path / "converted")) == list(range(60)), "and ours reads the SQLite bag that came out"


def test_a_lone_file_says_where_it_came_from(bag: Path, tmp_path: Path, contract: Contract) -> None:
    """Protects: a file that was sent by mail is as good as the folder."""
    lone = tmp_path / "elsewhere" / "lone.mcap"
    lone.parent.mkdir()
    shutil.copy(bag / "bag.mcap", lone)
    read = Bag(lone)
    assert read.contract.joint_names == contract.joint_names
    assert read.contract.chain is not None
    assert read.provenance["parameters"] == {"/policy": {"device": "cpu"}}


def test_a_cut_file_gives_all_that_is_whole(bag: Path) -> None:
    """Protects: wherever a copy or a recorder ended, every message before that is there."""
    file = bag / "bag.mcap"
    content = file.read_bytes()
    (bag / "metadata.yaml").unlink()
    last = 0
    for cut in range(8, len(content), 997):
        file.write_bytes(content[:cut])
        read = Bag(bag)
        found = numbers(read)
        assert found == list(range(len(found)))
        assert len(found) >= last
        assert "the file ends" in read.damage
        last = len(found)
    assert last == 60


def test_a_repaired_bag_is_whole(bag: Path, tmp_path: Path) -> None:
    """Protects: what a killed recorder left can be given to tools that want it whole."""
    content = (bag / "bag.mcap").read_bytes()
    (bag / "bag.mcap").write_bytes(content[: len(content) * 2 // 3])
    (bag / "metadata.yaml").unlink()
    broken = Bag(bag)
    count = repair(broken, tmp_path / "whole")
    whole = Bag(tmp_path / "whole")
    assert (whole.damage, numbers(whole)) == ("", numbers(broken))
    assert count == len(numbers(whole)) > 20
    assert whole.provenance["parameters"] == {"/policy": {"device": "cpu"}}
    assert "the file ends" in whole.provenance["repaired"]


def test_messages_out_of_order_come_in_order(contract: Contract, messages: Any, tmp_path: Path) -> None:
    """Protects: a bag that was merged or re-ordered tells the same story."""
    order = np.random.default_rng(0).permutation(60)
    with BagWriter(tmp_path / "bag", contract) as writer:
        for i in order.tolist():
            writer.write_message("/observation/state", messages.measured(S + i, np.full(6, float(i))), S + i)
            if i % 7 == 0:
                writer.flush()
    assert numbers(Bag(tmp_path / "bag")) == list(range(60))


def damaged_chunk(content: bytes) -> bytes:
    """Flip a bit in the last chunk's data."""
    at = content.rindex(struct.pack("<d", 50.0))
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def giant_chunk(content: bytes) -> bytes:
    """Let the first chunk say that it becomes 2⁶³ bytes."""
    at = 8
    while content[at] != 0x06:
        at += 9 + struct.unpack_from("<Q", content, at + 1)[0]
    return content[: at + 25] + struct.pack("<Q", 1 << 63) + content[at + 33 :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damaged_chunk, "checksum"),
        (giant_chunk, "at most"),
        (lambda _: b"", "empty file"),
        (lambda _: b"PK\x03\x04 some zip file", "not an MCAP file"),
        (lambda c: c.replace(b"cdr", b"xml"), "checksum"),
    ],
)
def test_what_is_wrong_is_named(bag: Path, change: Callable[[bytes], bytes], message: str) -> None:
    """Protects: damage is told with its place, and is never a number that something moves or trains by."""
    file = bag / "bag.mcap"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(BagError, match=message) as refusal:
        numbers(Bag(bag))
    assert "bag.mcap" in str(refusal.value) or str(bag) in str(refusal.value)


def test_the_rest_of_a_damaged_bag_can_be_read(bag: Path) -> None:
    """Protects: one bad sector does not take the whole story; what is missing is said."""
    file = bag / "bag.mcap"
    file.write_bytes(damaged_chunk(file.read_bytes()))
    read = Bag(bag, salvage=True)
    assert numbers(read) == list(range(48))
    assert "checksum" in read.damage


def test_bytes_of_another_type_are_refused(contract: Contract, tmp_path: Path) -> None:
    """Protects: a message that can't be decoded names its topic and time, and asks for no memory that it claims."""
    with BagWriter(tmp_path / "bag", contract) as writer:
        claims = b"\0\1\0\0" + struct.pack("<IIII", 1, 0, 0xFFFFFFF0, 7)
        writer.write("/observation/state", "sensor_msgs/msg/JointState", 5 * S, claims)
    with pytest.raises(BagError, match=r"/observation/state at 5\.000 s: 20 bytes are no sensor_msgs/msg/JointState"):
        numbers(Bag(tmp_path / "bag"))


def test_a_definition_with_another_hash_is_refused(bag: Path) -> None:
    """Protects: fields that changed places are no joint angles."""
    metadata = bag / "metadata.yaml"
    text = metadata.read_text()
    at = text.index("RIHS01_") + 20
    metadata.write_text(text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :])
    with pytest.raises(BagError, match="has hash RIHS01_"):
        numbers(Bag(bag))


def test_a_contract_that_was_edited_is_refused(bag: Path) -> None:
    """Protects: a replay against other limits than the recorded ones is noticed."""
    (file,) = (bag / "contract").glob("*.yaml")
    file.write_text(file.read_text().replace("velocity: 2.5", "velocity: 2.6", 1))
    with pytest.raises(BagError, match="not the contract that this bag was recorded with"):
        _ = Bag(bag).contract


def test_bombs_are_not_unpacked(bag: Path) -> None:
    """Protects: a chunk that unpacks to more than it says is refused before memory is full."""
    bomb = zstd.compress(bytes(64 << 20))
    plain = b"x" * 100
    head = struct.pack("<QQQI", 0, 0, len(plain), zlib.crc32(plain)) + struct.pack("<I", 4) + b"zstd"
    record = head + struct.pack("<Q", len(bomb)) + bomb
    content = b"\x89MCAP0\r\n" + struct.pack("<BQ", 0x06, len(record)) + record
    (bag / "bag.mcap").write_bytes(content)
    with pytest.raises(BagError, match="holds 101 bytes and says 100"):
        Bag(bag)


@pytest.fixture
def database_bag(bag: Path, tmp_path: Path) -> Path:
    """Write the bag's joint states as Humble's recorder would."""
    folder = tmp_path / "humble"
    folder.mkdir()
    source = Bag(bag)
    with sqlite3.connect(folder / "humble_0.db3") as database:
        database.execute("CREATE TABLE topics(id INTEGER, name TEXT, type TEXT, serialization_format TEXT)")
        database.execute(
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)"
        )
        database.execute("INSERT INTO topics VALUES(1, '/observation/state', 'sensor_msgs/msg/JointState', 'cdr')")
        rows = [(1, m.received_ns, m.data) for m in source.raw()]
        database.executemany("INSERT INTO messages(topic_id, timestamp, data) VALUES(?, ?, ?)", rows)
    database.close()
    return folder


@pytest.mark.parametrize("damage", ["topic_id = NULL", "timestamp = x'0102'", "data = 5"])
def test_a_database_with_values_of_other_types_is_refused(database_bag: Path, damage: str) -> None:
    """Protects: SQLite takes any value in any column, so a damaged one ends in a sentence, not in a traceback."""
    with sqlite3.connect(database_bag / "humble_0.db3") as database:
        database.execute(f"UPDATE messages SET {damage} WHERE id = 7")  # noqa: S608
    database.close()
    with pytest.raises(BagError, match="topic, time or data of 1 messages are of a wrong type"):
        Bag(database_bag)


def test_humbles_default_bags_are_read(database_bag: Path) -> None:
    """Protects: bags of rosbag2's own recorder, SQLite without definitions, convert the same."""
    read = Bag(database_bag)
    assert numbers(read) == list(range(60))
    assert read.provenance == {}
    with pytest.raises(BagError, match="--robot"):
        _ = read.contract
