# SPDX-License-Identifier: Apache-2.0
"""Does a work: what is there is kept, what is lost is tried again, what can't be made doesn't cost the others."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Generic

from swiftvla_ros.cluster.engine import EngineFactory, InThisProcess
from swiftvla_ros.cluster.outcome import Failed, Lost, Made
from swiftvla_ros.cluster.progress import WorkProgress
from swiftvla_ros.cluster.work import WHOLE, Item, Result, Shard, Work
from swiftvla_ros.errors import UserError

# An item whose machine is gone is begun again so often; one that kills whoever makes it ends there.
_TRIES = 3
# So many failures in a row without an item that was made: it is not the items.
_GIVE_UP = 5
_NAMED = 5


class WorkError(UserError):
    """Items could not be made; the text names the first ones and why."""


@dataclass
class Done(Generic[Result]):
    """What a run did."""

    results: list[Result] = field(default_factory=list)  # of what was made now, in the order of the items
    there: int = 0  # items of this part that were there before
    failed: list[str] = field(default_factory=list)  # why each item that is missing couldn't be made
    again: int = 0  # times that an item was begun again because who made it was gone
    hosts: Counter[str] = field(default_factory=Counter)  # items by the machine that made them
    seconds: float = 0.0

    @property
    def problem(self) -> str:
        """What is missing, and why; empty where nothing is."""
        different = list(dict.fromkeys(self.failed))
        shown = [*different[: _NAMED - 1], *([] if len(different) < _NAMED else ["…", different[-1]])]
        return "\n".join(shown)

    def check(self) -> Done[Result]:
        """Return this; raises :class:`WorkError` where an item is missing."""
        if self.failed:
            raise WorkError(self.problem)
        return self


class Runner:
    """Does works with one engine: a part of each, with or without a bar.

    Parameters
    ----------
    engine
        Who makes the items; see :func:`~swiftvla_ros.cluster.engine.on_this_machine`.
    shard
        The part that is done; the others are done elsewhere.
    progress
        Whether progress is shown.
    """

    def __init__(self, engine: EngineFactory = InThisProcess, shard: Shard = WHOLE, *, progress: bool = True) -> None:
        self._engine, self.shard, self._progress = engine, shard, progress

    def run(self, work: Work[Item, Result]) -> Done[Result]:
        """Make the items of this part that are not there.

        What can't be made is named in what is returned; after five failures in a row without success nothing more is
        begun, since it is not the items then.

        Raises
        ------
        WorkError
            Nothing of it could be made: it is what was asked for, or the machine.
        """
        begin = time.monotonic()
        done: Done[Result] = Done()
        items = work.items_of(self.shard)
        todo = [item for item in items if not work.is_there(item)]
        done.there = len(items) - len(todo)
        if todo:
            self._run(work, todo, done)
        if done.failed and not done.results and not done.there:
            done.check()
        work.sweep(items)
        done.seconds = time.monotonic() - begin
        return done

    def _run(self, work: Work[Item, Result], todo: list[Item], done: Done[Result]) -> None:
        waiting, tries, in_a_row = deque(range(len(todo))), Counter[int](), 0
        results: dict[int, Result] = {}
        reasons: dict[int, str] = {}
        engine = self._engine(work.make)
        total = sum(map(work.size, todo))
        running = 0
        try:
            with WorkProgress(work.title, work.unit, total, shown=self._progress) as progress:
                while running or (waiting and in_a_row < _GIVE_UP):
                    while waiting and in_a_row < _GIVE_UP and engine.room() > 0:
                        engine.submit(waiting[0], todo[waiting.popleft()])
                        running += 1
                    for number, outcome in engine.ended():
                        running -= 1
                        tries[number] += 1
                        if isinstance(outcome, Made):
                            results[number], in_a_row = outcome.result, 0
                            reasons.pop(number, None)
                            done.hosts[outcome.host] += 1
                            progress.made(work.size(todo[number]))
                            continue
                        reasons[number] = _told(outcome, tries[number])
                        in_a_row += isinstance(outcome, Failed)
                        if tries[number] < _TRIES and (isinstance(outcome, Lost) or outcome.passing):
                            waiting.append(number)
                            done.again += 1
                    progress.told()
                if done.again or len(done.hosts) > 1:
                    progress.say(_who(done))
        finally:
            engine.close()
        done.results = [results[number] for number in sorted(results)]
        done.failed = [reasons[number] for number in sorted(reasons)]
        if untouched := len(todo) - len(results) - len(reasons):
            done.failed.append(f"{untouched} more were not begun, since {_GIVE_UP} failed in a row")


def _who(done: Done[Result]) -> str:
    made = ", ".join(f"{count} by {host}" for host, count in sorted(done.hosts.items()))
    again = f"; begun again, since their machine was gone or had no room: {done.again}" if done.again else ""
    return f"items made: {made}{again}"


def _told(outcome: Failed | Lost, tries: int) -> str:
    if isinstance(outcome, Failed) and outcome.trace:
        print(outcome.trace, file=sys.stderr)
    return f"begun {tries} times: {outcome.text}" if tries > 1 else outcome.text
