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
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.progress import Progress

from _bag_seeds import Seed, make_seeds, records
from swiftvla_ros.cli.output import write_json
from swiftvla_ros.contract import ContractError, load_contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError

_GIANTS = (0, 1, 0x7F, 0xFF, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
_STRINGS = (b"", b"cdr", b"zstd", b"lz4", b"\xff\xfe", b"[4294967295]", b"std_msgs/msg/Empty", b"\x89MCAP0\r\n")


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
            # With a length, a checksum is taken away: what it covered is not known any more.
            expected = seed if seed.checked and label != "a length replaced" else None
            # Of this process alone, on machines that do other things, too.
            began = time.process_time()
            end = read(folder / "bag" / (seed.file.name if rng.random() < 0.2 else ""), expected, rng)
            slowest = max(slowest, time.process_time() - began)
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


def read(path: Path, expected: Seed | None, rng: random.Random) -> str:
    """Read everything of a damaged bag, which holds what was ``expected`` or says otherwise; say how it ended."""
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
    if expected is not None and (found, definitions) != (expected.messages, expected.definitions):
        return f"SILENT: {len(found)} messages, other than were recorded, and no word of it"
    return "read"


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
