# SPDX-License-Identifier: Apache-2.0
"""Who makes the items: this process, or fresh ones beside it. Other machines: ``ray_engine``, an extra."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, Protocol

from swiftvla_ros.cluster.outcome import Lost, WorkOutcome, attempt

# How long one waits for an item to end before progress is shown again, s.
WAIT_S = 1.0
_KILLED = "its process was killed (by hand, or for want of memory)"


class Engine(Protocol):
    """Makes items of one work; used by one thread, and closed at the end."""

    def room(self) -> int:
        """How many more items may be handed over now."""

    def submit(self, number: int, item: Any) -> None:
        """Hand an item over; ``number`` tells it from the others."""

    def ended(self) -> list[tuple[int, WorkOutcome]]:
        """Return what became of items since the last call, by number; waits a little where nothing did."""

    def close(self) -> None:
        """Begin nothing more, and free what was taken."""


Make = Callable[[Any], Any]
EngineFactory = Callable[[Make], Engine]
"""Makes the engine of one work, given how an item is made."""


def on_this_machine(workers: int) -> EngineFactory:
    """Take as many processes, one for each core for 0; a single one is this one."""
    workers = workers or os.cpu_count() or 1
    return InThisProcess if workers == 1 else partial(FreshProcesses, workers)


class InThisProcess:
    """One item after the other."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._next: list[tuple[int, Any]] = []

    def room(self) -> int:
        """Take one at a time."""
        return 1 - len(self._next)

    def submit(self, number: int, item: Any) -> None:
        """Remember it."""
        self._next.append((number, item))

    def ended(self) -> list[tuple[int, WorkOutcome]]:
        """Make it."""
        made = [(number, attempt(self._make, item)) for number, item in self._next]
        self._next.clear()
        return made

    def close(self) -> None:
        """Nothing is held."""


class FreshProcesses:
    """Some processes of this machine; fresh ones, because an OpenGL context does not survive a fork."""

    def __init__(self, workers: int, make: Make) -> None:
        self._workers, self._make = workers, make
        self._running: dict[Future[WorkOutcome], int] = {}
        self._pool = self._new_pool()

    def room(self) -> int:
        """Have one more for each worker waiting, so that none is idle."""
        return 2 * self._workers - len(self._running)

    def submit(self, number: int, item: Any) -> None:
        """Hand it to the next process that is free."""
        try:
            future = self._pool.submit(attempt, self._make, item)
        except BrokenProcessPool:
            self._pool = self._new_pool()
            future = self._pool.submit(attempt, self._make, item)
        self._running[future] = number

    def ended(self) -> list[tuple[int, WorkOutcome]]:
        """Collect; where a process was killed, all that were handed over are lost, since nobody knows whose it was."""
        done, _ = wait(self._running, timeout=WAIT_S, return_when=FIRST_COMPLETED)
        found: list[tuple[int, WorkOutcome]] = []
        for future in done:
            number = self._running.pop(future)
            try:
                found.append((number, future.result()))
            except BrokenProcessPool:
                found.append((number, Lost(_KILLED)))
        return found

    def close(self) -> None:
        """Wait for those that run, and begin no other."""
        self._pool.shutdown(cancel_futures=True)

    def _new_pool(self) -> ProcessPoolExecutor:
        return fresh_processes(self._workers)


def fresh_processes(workers: int) -> ProcessPoolExecutor:
    """Return a pool of fresh processes, which end with this one however it ends."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    # A pool's processes wait for work on a pipe that they hold themselves, so that nothing tells them of its end.
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
