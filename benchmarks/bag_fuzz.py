# SPDX-License-Identifier: Apache-2.0
"""Damages bags and reads them: each is read or refused with a clear error, nothing else, in bounded memory.

    python benchmarks/bag_fuzz.py                     # 100 000 damaged bags, some 10 minutes
    python benchmarks/bag_fuzz.py --mutations 2000    # a minute

Beside the random damage, rules are held: a file that was cut gives every message that lies whole before the cut, one
whose chunks were shuffled gives every message in order, an undamaged one everything unchanged, and one with a wrong
size in the head of a chunk gives, with salvage, every message. And no damaged file with checksums is read as whole and
gives other messages or definitions than were recorded. ``--seed`` gives other damage; long runs are made in parts.
Exit code 1 if anything else than a ``BagError`` or ``ContractError`` came out of the reader, a rule was broken, memory
grew beyond ``--memory-mb``, or a bag kept it busy for more than ``--seconds`` s.
"""

import argparse
import logging
import random
import resource
import shutil
import sqlite3
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from backports import zstd
from mcap.writer import Writer
from rich.progress import Progress

from swiftvla_ros.cli.output import write_json
from swiftvla_ros.contract import Contract, ContractError, load_contract
from swiftvla_ros.episodes.bags.bag import Bag, BagError, BagWriter
from swiftvla_ros.episodes.bags.message_types import known_types

_HEAD = struct.Struct("<BQ")
_GIANTS = (0, 1, 0x7F, 0xFF, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
_STRINGS = (b"", b"cdr", b"zstd", b"lz4", b"\xff\xfe", b"[4294967295]", b"std_msgs/msg/Empty", b"\x89MCAP0\r\n")


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


def main() -> int:
    """Run the mutations; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory-mb", type=int, default=1500, help="largest size of this process")
    parser.add_argument("--seconds", type=float, default=10.0, help="longest time for one bag")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    # What readers warn of is not to be read 100 000 times.
    logging.disable()
    ends: Counter[str] = Counter()
    failures: list[str] = []
    slowest = 0.0
    shared = Path("/dev/shm")  # noqa: S108 - memory instead of a disk that would set the pace
    contract = load_contract("so101_sim")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as name, Progress() as progress:
        folder = Path(name)
        seeds = make_seeds(folder / "seeds", contract)
        before = memory_mb()
        for seed in seeds:
            failures += check_rules(seed, folder / "rules", rng)
        task = progress.add_task("damaged bags", total=options.mutations)
        for number in range(options.mutations):
            seed = rng.choice(seeds)
            label = damage(seed, folder / "bag", rng)
            began = time.monotonic()
            end = read(folder / "bag" / (seed.file.name if rng.random() < 0.2 else ""), seed, rng)
            slowest = max(slowest, time.monotonic() - began)
            ends[f"{label}: {end.split(':')[0]}"] += 1
            if end.startswith(("LEAK", "SILENT")):
                failures.append(f"mutation {number} of {seed.folder.name}, {label}: {end}")
            progress.advance(task)
    largest = memory_mb()
    figures: dict[str, Any] = {
        "mutations": options.mutations,
        "seed": options.seed,
        "seeds": len(seeds),
        "ends": dict(sorted(ends.items())),
        "memory_mb_before": before,
        "memory_mb_largest": largest,
        "slowest_s": slowest,
        "failures": failures,
    }
    for end, count in sorted(ends.items()):
        print(f"{count:8d}  {end}")
    print(f"memory: {before:.0f} MB before, {largest:.0f} MB at most; slowest bag {slowest:.2f} s")
    if largest > options.memory_mb:
        failures.append(f"memory grew to {largest:.0f} MB")
    if slowest > options.seconds:
        failures.append(f"a bag took {slowest:.1f} s")
    for failure in failures[:10]:
        print(failure)
    print(f"{options.mutations} damaged bags, {len(failures)} failures")
    write_json(options.json, figures)
    return 1 if failures else 0


def memory_mb() -> float:
    """Return the largest size that this process had so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read(path: Path, seed: Seed, rng: random.Random) -> str:
    """Read everything of a damaged copy of ``seed``; say how it ended."""
    try:
        bag = Bag(path, salvage=rng.random() < 0.5)
        for topic in list(bag.counts):
            for _ in bag.messages(topic):
                pass
        found = [(m.received_ns, m.topic, m.data) for m in bag.raw()]
        bag.episodes()
        _ = bag.provenance
        # Its text is parsed slowly, and by the contract's own reader, which has tests of its own.
        if rng.random() < 0.02:
            _ = bag.contract
    except (BagError, ContractError) as error:
        return "refused" if str(error) else "LEAK: an error without a text"
    except Exception:  # noqa: BLE001 - exactly what must not happen
        return f"LEAK: {traceback.format_exc(limit=-4)}"
    if bag.damage:
        return "read with a note"
    definitions = {topic: channel.definition for topic, channel in bag.channels.items()}
    if seed.checked and (found, definitions) != (seed.messages, seed.definitions):
        return f"SILENT: {len(found)} messages, other than were recorded, and no word of it"
    return "read"


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


def wrong_sizes(seed: Seed, file: Path) -> list[str]:
    """Put wrong sizes into the heads of chunks and salvage each file; return where messages were lost."""
    failures = []
    for _, begin, _ in (mark for mark in records(seed.content) if mark[0] == 0x06):
        (name,) = struct.unpack_from("<I", seed.content, begin + 37)
        for field, at in (("record", begin + 1), ("data", begin + 25), ("stored", begin + 41 + name)):
            (size,) = struct.unpack_from("<Q", seed.content, at)
            for wrong in (0, size - 1, size + 1, size + 1000, 2 * size, 1 << 40, (1 << 64) - 1):
                content = bytearray(seed.content)
                struct.pack_into("<Q", content, at, wrong)
                file.write_bytes(content)
                found = [(m.received_ns, m.topic, m.data) for m in Bag(file, salvage=True).raw()]
                if found != seed.messages:
                    place = f"{seed.folder.name}: {field} size {wrong} for {size} of the chunk at byte {begin}"
                    failures.append(f"{place}: {len(found)} of {len(seed.messages)} messages")
    return failures


def check_rules(seed: Seed, folder: Path, rng: random.Random) -> list[str]:
    """Hold the rules with one seed; return what broke them."""
    failures = []
    if not seed.checked:
        return failures
    folder.mkdir(exist_ok=True)
    file = folder / seed.file.name
    marks = records(seed.content)
    chunks = [(begin, end) for opcode, begin, end in marks if opcode == 0x06]
    # Chunks with their lists: what stands between one chunk and the next record of another kind.
    groups, rest = [], seed.content
    if len(chunks) > 1:
        ends = [
            *(begin for begin, _ in chunks[1:]),
            next(b for o, b, _ in marks if o in (0x0C, 0x0F) and b > chunks[-1][0]),
        ]
        groups = [seed.content[begin:end] for (begin, _), end in zip(chunks, ends, strict=True)]
        head, tail = groups[0], groups[1:]
        rng.shuffle(tail)
        rest = seed.content[: chunks[0][0]] + head + b"".join(tail) + seed.content[ends[-1] :]
    failures += wrong_sizes(seed, file)
    file.write_bytes(rest)
    found = [(m.received_ns, m.topic, m.data) for m in Bag(file).raw()]
    if found != seed.messages:
        failures.append(
            f"{seed.folder.name}: shuffled chunks gave {len(found)} of {len(seed.messages)} messages, or others"
        )
    for _ in range(50):
        cut = rng.randrange(8, len(seed.content))
        file.write_bytes(seed.content[:cut])
        bag = Bag(file)
        found = [(m.received_ns, m.topic, m.data) for m in bag.raw()]
        whole = sum(end <= cut for _, end in chunks) * 12
        if found != seed.messages[: len(found)] or len(found) < min(whole, len(seed.messages)) or not bag.damage:
            failures.append(f"{seed.folder.name}: cut at byte {cut}: {len(found)} messages, at least {whole} are whole")
    shutil.rmtree(folder)
    return failures


def damage(seed: Seed, folder: Path, rng: random.Random) -> str:
    """Write a damaged copy of a bag; name the kind of damage."""
    kinds: dict[str, Callable[[bytearray, random.Random], None]] = {
        "bits flipped": flip,
        "bytes replaced": replace,
        "cut": cut,
        "a part removed": remove,
        "a part doubled": double,
        "parts exchanged": exchange,
        "a length replaced": giant_length,
        "bytes inserted": insert,
        "rubbish": rubbish,
        "records shuffled": shuffle_records,
    }
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    label = rng.choice(list(kinds))
    in_metadata = bool(seed.metadata) and rng.random() < 0.15
    content = bytearray(seed.metadata if in_metadata else seed.content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        kinds[label](content, rng)
    (folder / seed.file.name).write_bytes(seed.content if in_metadata else content)
    if seed.metadata and (in_metadata or rng.random() < 0.7):
        (folder / "metadata.yaml").write_bytes(content if in_metadata else seed.metadata)
    return f"{label} in metadata.yaml" if in_metadata else label


def flip(content: bytearray, rng: random.Random) -> None:
    """Flip some bits."""
    for _ in range(rng.randint(1, 8)):
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def replace(content: bytearray, rng: random.Random) -> None:
    """Put a number or a text that means something in the format anywhere."""
    at = rng.randrange(len(content) + 1)
    new = (
        rng.choice(_STRINGS)
        if rng.random() < 0.3
        else rng.choice(_GIANTS).to_bytes(8, "little")[: rng.choice((1, 2, 4, 8))]
    )
    content[at : at + len(new)] = new


def cut(content: bytearray, rng: random.Random) -> None:
    """End anywhere."""
    del content[rng.randrange(len(content) + 1) :]


def _span(content: bytearray, rng: random.Random) -> slice:
    at = rng.randrange(len(content) + 1)
    return slice(at, at + int(rng.expovariate(1 / 200)))


def remove(content: bytearray, rng: random.Random) -> None:
    """Take a part out."""
    del content[_span(content, rng)]


def double(content: bytearray, rng: random.Random) -> None:
    """Write a part twice."""
    span = _span(content, rng)
    content[span.start : span.start] = content[span]


def exchange(content: bytearray, rng: random.Random) -> None:
    """Exchange two parts."""
    first, second = _span(content, rng), _span(content, rng)
    content[first], content[second] = content[second], content[first]


def insert(content: bytearray, rng: random.Random) -> None:
    """Put something in between."""
    at = rng.randrange(len(content) + 1)
    content[at:at] = rng.randbytes(rng.randint(1, 300))


def rubbish(content: bytearray, rng: random.Random) -> None:
    """Replace all, but perhaps for the first bytes."""
    content[rng.choice((0, 8, 100)) :] = rng.randbytes(rng.randint(0, 3000))


def giant_length(content: bytearray, rng: random.Random) -> None:
    """Give a record, or a text in it, another length; a checksum that belonged to it is taken away."""
    marks = records(bytes(content)) if content[:1] == b"\x89" else []
    if not marks:
        replace(content, rng)
        return
    opcode, begin, end = rng.choice(marks)
    if rng.random() < 0.4:
        struct.pack_into("<Q", content, begin + 1, rng.choice(_GIANTS))
        return
    if opcode == 0x06:
        struct.pack_into("<I", content, begin + 9 + 24, 0)
    if end - begin > 17:
        at = rng.randrange(begin + 9, end - 8)
        struct.pack_into("<I", content, at, rng.choice(_GIANTS) & 0xFFFFFFFF)


def shuffle_records(content: bytearray, rng: random.Random) -> None:
    """Put the records into another order, perhaps without one of them."""
    marks = records(bytes(content)) if content[:1] == b"\x89" else []
    parts = [bytes(content[begin:end]) for _, begin, end in marks]
    rng.shuffle(parts)
    if parts and rng.random() < 0.5:
        parts.pop()
    content[8 : len(content) - 8] = b"".join(parts)


if __name__ == "__main__":
    sys.exit(main())
