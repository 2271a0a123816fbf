# SPDX-License-Identifier: Apache-2.0
"""Damages the files that people hand over, and reads them as the commands do: each is read or refused in a sentence.

    python benchmarks/file_fuzz.py                                  # 30 000 damaged folders, an hour on one core
    python benchmarks/file_fuzz.py --mutations 500 --kinds dataset  # seconds
    python benchmarks/file_fuzz.py --only 1234                      # one again, with its traceback

Contracts, checkpoints, geometry checkpoints, SmolVLA folders with and without statistics, LeRobot datasets and stored
episodes: bytes are damaged, keys, columns and tensors are taken out, doubled and given other types and sizes, files
are exchanged for folders, Git LFS pointers, other encodings and nothing. ``benchmarks/bag_fuzz.py`` damages bags.

Exit code 1 if anything else than a ``UserError`` came out, its text was no sentence, memory grew by more than
``--memory-mb`` (the process may not have more), one took longer than ``--seconds``, or the process died.
"""

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.progress import Progress

from file_fuzz_damage import damage
from file_fuzz_seeds import make_seeds
from swiftvla_ros.cli.output import write_json
from swiftvla_ros.errors import UserError

_LONGEST_TEXT = 7000
Read = Callable[[Path, Path], object]


class TooSlowError(BaseException):
    """One file kept the process busy for too long; no handler of the code under test catches it."""


def readers() -> dict[str, Read]:
    """What the commands call with each kind of folder; the second path may be written to."""
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.episodes.datasets.sources import open_episodes
    from swiftvla_ros.geometry.checkpoint import load_geometry
    from swiftvla_ros.policy import load_policy
    from swiftvla_ros.policy.checkpoint_fingerprint import fingerprint
    from swiftvla_ros.training.checkpoint_writer import read_config, read_tokenizer
    from swiftvla_ros.training.importers.smolvla import import_smolvla

    contract = load_contract("so101_sim")

    def read_checkpoint(folder: Path, _out: Path) -> None:
        load_policy(folder, contract=contract, device="cpu")
        fingerprint(folder)
        read_config(folder)
        read_tokenizer(folder)

    def read_episodes(folder: Path, _out: Path) -> None:
        for handle in open_episodes(folder, contract, []):
            handle.steps()
            handle.load()

    def read_smolvla(folder: Path, out: Path) -> None:
        stats = folder / "meta" / "stats.json"
        robot = load_contract(folder.parent / "smolvla.yaml")
        tokenizer = (folder.parent / "tokenizer.json").read_text(encoding="utf-8")
        import_smolvla(folder, out, robot, tokenizer, statistics=stats if stats.is_file() else None)

    return {
        "contract": lambda folder, _out: load_contract(folder / "robot.yaml"),
        "checkpoint": read_checkpoint,
        "geometry": lambda folder, _out: load_geometry(folder),
        "smolvla": read_smolvla,
        "statistics": read_smolvla,
        "dataset": read_episodes,
        "videos": read_episodes,
        "stored": read_episodes,
    }


def main() -> int:
    """Run the mutations; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="", help="only these, with commas between them")
    parser.add_argument("--only", type=int, help="one mutation by its number")
    parser.add_argument("--memory-mb", type=int, default=1500, help="how much larger the process may become")
    parser.add_argument("--seconds", type=float, default=10.0, help="longest time of the processor for one")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ends: Counter[str] = Counter()
    failures: list[str] = []
    figures = {"slowest_s": 0.0, "memory_mb": 0.0}
    shared = Path("/dev/shm")  # noqa: S108 - memory instead of a disk that would set the pace
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as name, Progress() as progress:
        seeds = Path(name) / "seeds"
        kinds = make_seeds(seeds)
        kinds = [kind for kind in kinds if not options.kinds or kind in options.kinds.split(",")]
        number, end = (0, options.mutations) if options.only is None else (options.only, options.only + 1)
        task = progress.add_task("damaged files", total=end - number)
        while number < end:
            ours, theirs = multiprocessing.Pipe()
            work = (theirs, seeds, kinds, number, end, options)
            child = multiprocessing.get_context("spawn").Process(target=work_through, args=work)
            child.start()
            theirs.close()
            label = "before the first"
            try:
                while True:
                    told = ours.recv()
                    if isinstance(told, str):
                        label = told
                        continue
                    outcome, text, seconds, memory_mb = told
                    ends[outcome] += 1
                    if text:
                        failures.append(text)
                        print(text, flush=True)
                    figures["slowest_s"] = max(figures["slowest_s"], seconds)
                    figures["memory_mb"] = max(figures["memory_mb"], memory_mb)
                    number += 1
                    progress.advance(task)
                    if number % 1000 == 0:
                        print(f"{number} in {time.monotonic() - began:.0f} s, {len(failures)} failures", flush=True)
            except EOFError:
                child.join()
            if number < end:
                said = (Path(name) / "stderr").read_text(errors="replace")[-1500:]
                failures.append(f"the process died (exit code {child.exitcode}) at mutation {label}: {said}")
                print(failures[-1], flush=True)
                number += 1
    for outcome, count in sorted(ends.items()):
        print(f"{count:8d}  {outcome}")
    print(f"memory: {figures['memory_mb']:.0f} MB more at most; slowest {figures['slowest_s']:.2f} s")
    for failure in failures[:10]:
        print(failure)
    print(f"{end if options.only is None else 1} damaged files, {len(failures)} failures")
    write_json(options.json, {**figures, "ends": dict(sorted(ends.items())), "failures": failures})
    return 1 if failures else 0


def work_through(pipe: Connection, seeds: Path, kinds: list[str], first: int, end: int, options: Any) -> None:
    """Damage and read one after the other; in a process of its own, which may not grow without bounds."""
    if options.only is None:
        # What codecs say of damaged pictures; the last lines tell of what a process died.
        os.dup2(os.open(seeds.parent / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    import torch

    torch.set_num_threads(1)
    read = readers()
    folder = seeds.parent / "damaged"
    for kind in kinds:  # what is loaded once is no growth
        read[kind](seeds / kind, seeds.parent / "out")
    before = memory_mb()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + options.memory_mb * 2**20,) * 2)
    signal.signal(signal.SIGPROF, _too_slow)
    for number in range(first, end):
        rng = random.Random(f"{options.seed}/{number}")
        kind = kinds[number % len(kinds)]
        for path in (folder, seeds.parent / "out"):
            shutil.rmtree(path, ignore_errors=True)
        # The same name as the seed's: what lies beside is found.
        damaged = folder / kind
        shutil.copytree(seeds / kind, damaged)
        for beside in seeds.glob("*.*"):
            shutil.copy(beside, folder)
        label = f"{number}: {kind}: {damage(damaged, rng)}"
        pipe.send(label)
        # Of the processor: other work beside this is no fault.
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, options.seconds)
        outcome, text = attempt(read[kind], damaged, seeds.parent / "out")
        signal.setitimer(signal.ITIMER_PROF, 0)
        if options.only is not None:
            print(outcome, text)
        failure = f"mutation {label}: {text}" if outcome == "FAILED" else ""
        pipe.send((f"{kind}: {outcome}", failure, time.process_time() - began, memory_mb() - before))


def attempt(read: Read, folder: Path, out: Path) -> tuple[str, str]:
    """Read; say how it ended, and the text of a refusal or a traceback."""
    try:
        read(folder, out)
        return "read", ""
    except UserError as error:
        try:
            _check_text(error)
        except ValueError as problem:
            return "FAILED", str(problem)
        return "refused", str(error)
    except TooSlowError:
        return "FAILED", f"too slow: {traceback.format_exc(limit=-6)}"
    except Exception:  # noqa: BLE001 - exactly what must not happen
        return "FAILED", traceback.format_exc(limit=-6)


def _check_text(error: UserError) -> None:
    """A refusal is a sentence for people; a contract's may have one a line."""
    text = str(error)
    lines = text.splitlines()
    if not text.strip() or len(text) > _LONGEST_TEXT or "Traceback" in text:
        raise ValueError(f"no sentence: {text[:300]!r}")
    if len(lines) > 1 and type(error).__name__ != "ContractError":
        raise ValueError(f"{len(lines)} lines: {text[:300]!r}")


def _too_slow(*_: object) -> None:
    raise TooSlowError


def memory_mb() -> float:
    """Return the largest size that this process had so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
