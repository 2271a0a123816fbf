# SPDX-License-Identifier: Apache-2.0
"""Two Ray nodes on this machine against one process: the same files, a killed node, and the speed.

    python benchmarks/cluster.py                     # 36 episodes, some minutes on two cores
    python benchmarks/cluster.py --episodes 200

Does `swiftvla collect` and `swiftvla teacher-targets` three times: in one process, over two nodes (each with one
processor), and over two nodes of which one is killed when half of the files are there. Compares the folders file by
file, and prints the throughput, without the start of the processes and with it. Exit code 1 where a command failed, a
file differs or no node was killed at work.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from _local_cluster import LocalCluster
from swiftvla_ros.cli.output import print_table, write_json

_SWIFTVLA = [sys.executable, "-m", "swiftvla_ros.cli.main"]
_SECOND = "127.0.0.3"
_ONE, _TWO, _KILLED = "one process", "two nodes", "one killed"
# Which files a command makes, what its figures count, and how that is called.
_MADE = {
    "collect": ("episode_*.safetensors", "recorded", "episodes"),
    "teacher-targets": ("shard_*.safetensors", "steps", "steps"),
}


@dataclass(frozen=True)
class Measured:
    """What one command took."""

    command: str
    way: str
    # Episodes, or steps; after a kill without those that the lost node had finished of what was begun again.
    count: int
    seconds: float  # as the command tells: until the last result, from when it began to share out
    wall_seconds: float  # with everything: imports, listing, the way into the cluster
    killed_at: int  # files that were there when the node was killed, of ``files``
    files: int


class _FailedError(Exception):
    """What went wrong."""


def main() -> int:
    """Run it all; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=36)
    parser.add_argument("--batch", type=int, default=4, help="of teacher-targets: episodes in a file")
    parser.add_argument("--cache-steps", default="3", help="of teacher-targets, as it takes them")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="cluster_") as folder, LocalCluster() as cluster:
            found = _measure(Path(folder), options, cluster)
    except _FailedError as error:
        print(error, file=sys.stderr)
        return 1
    alone = {one.command: one for one in found if one.way == _ONE}
    rows = [
        (
            one.command, one.way, f"{alone[one.command].count / one.seconds:.2f} {_MADE[one.command][2]}",
            f"{alone[one.command].seconds / one.seconds:.2f} ×", f"{one.seconds:.0f}", f"{one.wall_seconds:.0f}",
            f"{one.killed_at} of {one.files}" if one.killed_at else "",
        )
        for one in found
    ]  # fmt: skip
    print_table(("command", "by", "in a second", "", "s", "in all", "killed at"), rows)
    write_json(options.json, {"episodes": options.episodes, "runs": [vars(one) for one in found]})
    return 0


def _measure(folder: Path, options: argparse.Namespace, cluster: LocalCluster) -> list[Measured]:
    found = []
    for way, name in ((_ONE, "one"), (_TWO, "two"), (_KILLED, "killed")):
        out = folder / name
        calls = {
            "collect": ["collect", out, "--episodes", options.episodes],
            "teacher-targets": [
                *("teacher-targets", out, folder / f"{name}_targets"),
                *("--batch", options.batch, "--cache-steps", options.cache_steps),
            ],
        }
        for command, call in calls.items():
            made = out if command == "collect" else folder / f"{name}_targets"
            found.append(_run(command, way, call, made, found, cluster))
            print(f"{command}, {way}: {_same(folder / made.name.replace(name, 'one'), made)}", flush=True)
    return found


def _run(
    command: str, way: str, call: list[object], out: Path, before: list[Measured], cluster: LocalCluster
) -> Measured:
    pattern, counted, _ = _MADE[command]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    sharing = ["--workers", "1"]
    if way != _ONE:
        cluster.ensure(_SECOND)
        environment |= cluster.environment
        sharing = ["--cluster", cluster.address]
    figures = out.parent / "figures.json"
    print(f"$ swiftvla {command} … {' '.join(sharing)}", flush=True)
    begin = time.monotonic()
    process = subprocess.Popen([*_SWIFTVLA, *map(str, call), *sharing, "--json", str(figures)], env=environment)
    killed_at = 0
    if way == _KILLED:
        wanted = next(one.files for one in before if one.command == command) // 2
        while process.poll() is None and (killed_at := len(list(out.glob(pattern)))) < wanted:
            time.sleep(0.02)
        cluster.kill(_SECOND)
    if process.wait() != 0:
        raise _FailedError(f"swiftvla {command} ended with exit code {process.returncode}")
    wall = time.monotonic() - begin
    told, files = json.loads(figures.read_text()), len(list(out.glob(pattern)))
    if way == _KILLED and killed_at == files:
        raise _FailedError(f"{command}: all was done before the node was killed; write a larger --episodes")
    return Measured(command, way, told[counted], told["seconds"], wall, killed_at, files)


def _same(one: Path, other: Path) -> str:
    """Compare two folders; say how many files are the same."""
    files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in (one, other)]
    if files[0].keys() != files[1].keys():
        raise _FailedError(f"{other}: these files are in one folder alone: {sorted(files[0].keys() ^ files[1].keys())}")
    different = sorted(name for name in files[0] if files[0][name] != files[1][name])
    if different:
        raise _FailedError(f"{other}: these files differ from those of one process: {different}")
    return f"{len(files[0])} files, every byte as of one process, nothing else"


if __name__ == "__main__":
    sys.exit(main())
