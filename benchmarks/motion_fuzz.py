# SPDX-License-Identifier: Apache-2.0
"""Random and adversarial stories for the chunk executor, every command of them checked.

``python benchmarks/motion_fuzz.py [--ticks 1e7] [--workers 2] [--seed 0] [--joints 16] [--json FILE]`` tells story
after story (``motion_strategies.py``) and checks every command against the position, velocity, acceleration and jerk
limits, against the command before it, at every start against the pose that was measured, and against coming to rest
(``motion_promise.py``, which also says what the check can't see, and why it once was blind to starts outside the
limits). The number of a story that breaks a promise is printed; ``--seed S --story N`` tells that one alone, and
``--first N`` goes on from one, so that a long run can be made in parts. Ends with status 1 where one was broken.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: matrices of 16 joints are no work for threads

import argparse
import multiprocessing
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from motion_playback import Violation, left_alone, make_executor, play
from motion_promise import stops_outside, violations
from motion_strategies import Story, numbered_story
from swiftvla_ros.cli.output import write_json
from swiftvla_ros.motion import ChunkExecutor

_REPORT_S = 5.0
_SHOWN = 20
_BATCH = 8


@dataclass
class Tally:
    """What came of a number of stories."""

    stories: int = 0
    ticks: int = 0
    commands: int = 0
    accepted: int = 0
    processor_s: float = 0.0
    joints: Counter[int] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    worst: dict[str, float] = field(default_factory=dict)
    broken: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Take up the stories of another."""
        for name in ("stories", "ticks", "commands", "accepted", "processor_s", "joints", "modes", "refusals"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.broken += other.broken
        for kind, ratio in other.worst.items():
            self.worst[kind] = max(ratio, self.worst.get(kind, 0.0))


def tell(story: Story, number: int, make: Callable[[Story], ChunkExecutor] = make_executor) -> Tally:
    """Let one story happen and check all of it."""
    begin, tally = time.process_time(), Tally(stories=1)
    found: list[Violation]
    try:
        executor = make(story)
        record = play(executor, story)
        found = left_alone(executor, story, record)
        found += violations(record, story, tally.worst) + stops_outside(record, story.limits)
    except Exception:  # noqa: BLE001  (an exception of any kind is what is looked for)
        found = [Violation("exception", traceback.format_exc())]
    else:
        tally.ticks, tally.commands, tally.accepted = record.ticks, len(record.commands), record.accepted
        tally.modes, tally.refusals = record.modes, record.refusals
    tally.joints[len(story.start)] += tally.ticks
    tally.broken = [(number, violation.kind, violation.text) for violation in found]
    tally.processor_s = time.process_time() - begin
    return tally


def _work(job: tuple[int, int, int]) -> Tally:
    """Tell a batch of stories from ``first`` on."""
    seed, first, most_joints = job
    tally = Tally()
    for number in range(first, first + _BATCH):
        tally.add(tell(numbered_story(seed, number, most_joints=most_joints), number))
    return tally


def fuzz(seed: int, ticks: int, workers: int, most_joints: int, first_story: int = 0) -> Iterator[Tally]:
    """Tell stories from the first on until so many ticks have passed; yields the sum so far again and again.

    Stories are told in the order of their numbers, so that the same seed and ticks are the same stories.
    """
    total = Tally()
    jobs = ((seed, first, most_joints) for first in range(first_story, sys.maxsize, _BATCH))
    if workers == 1:
        for job in jobs:
            total.add(_work(job))
            yield total
            if total.ticks >= ticks:
                return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        waiting = [pool.apply_async(_work, (next(jobs),)) for _ in range(2 * workers)]
        while total.ticks < ticks:
            total.add(waiting.pop(0).get())
            waiting.append(pool.apply_async(_work, (next(jobs),)))
            yield total


def _table(total: Tally, wall_s: float) -> Table:
    table = Table(title=f"{total.ticks} ticks, {total.stories} stories", show_header=False)
    share = {mode: f"{count / total.ticks:.1%}" for mode, count in total.modes.most_common()}
    rows = {
        "commands checked": total.commands,
        "joints": f"{min(total.joints)} to {max(total.joints)}",
        "ticks by mode": ", ".join(f"{mode} {part}" for mode, part in share.items()),
        "chunks taken": total.accepted,
        "chunks refused": ", ".join(f"{code} {count}" for code, count in total.refusals.most_common()),
        "most of a limit used": ", ".join(f"{kind} {ratio:.6f}" for kind, ratio in total.worst.items()),
        "wall time": f"{wall_s:.0f} s, {total.ticks / wall_s:.0f} ticks/s",
        "processor time": f"{total.processor_s:.0f} s, {total.ticks / (total.processor_s or 1.0):.0f} ticks/s a core",
        "violations": len(total.broken),
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def _report(total: Tally, wall_s: float, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "seed": options.seed,
        "workers": options.workers,
        "next_story": options.first + total.stories,
        "stories": total.stories,
        "ticks": total.ticks,
        "commands": total.commands,
        "ticks_by_joints": dict(sorted(total.joints.items())),
        "ticks_by_mode": dict(total.modes),
        "accepted": total.accepted,
        "refused": dict(total.refusals),
        "most_of_a_limit_used": total.worst,
        "wall_s": wall_s,
        "ticks_per_s": total.ticks / wall_s,
        "processor_s": total.processor_s,
        "violations": [dict(zip(("story", "kind", "text"), broken, strict=True)) for broken in total.broken],
    }


def main() -> int:
    """Tell stories, print what came of them, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticks", type=float, default=1e7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--joints", type=int, default=16, help="from 1 to so many")
    parser.add_argument("--story", type=int, help="tell this one alone")
    parser.add_argument("--first", type=int, default=0, help="begin with this story")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    console, begin, told = Console(width=120), time.monotonic(), 0.0
    total, shown = Tally(), 0
    if options.story is not None:
        total = tell(numbered_story(options.seed, options.story, most_joints=options.joints), options.story)
        runs: Iterator[Tally] = iter([total])
    else:
        runs = fuzz(options.seed, round(options.ticks), options.workers, options.joints, options.first)
    for total in runs:
        for number, kind, text in total.broken[shown:_SHOWN]:
            print(f"story {number}: {kind}: {text}\n  --seed {options.seed} --joints {options.joints} --story {number}")
        shown = len(total.broken)
        if time.monotonic() - told > _REPORT_S:
            told = time.monotonic()
            print(f"{total.ticks:,} ticks, {len(total.broken)} violations, {told - begin:.0f} s", file=sys.stderr)
    wall_s = time.monotonic() - begin
    console.print(_table(total, wall_s))
    write_json(options.json, _report(total, wall_s, options))
    return 1 if total.broken else 0


if __name__ == "__main__":
    sys.exit(main())
