# SPDX-License-Identifier: Apache-2.0
"""What is to be done: items in an order, how one is made, and which files tell that it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from swiftvla_ros.files import partials

Item = TypeVar("Item")
Result = TypeVar("Result")


class Shard(NamedTuple):
    """The ``number``-th of ``of`` parts, from 1 on: every ``of``-th item, so that parts take equally long."""

    number: int = 1
    of: int = 1


WHOLE = Shard()


@dataclass(frozen=True)
class Work(Generic[Item, Result]):
    """Items of one kind, each made by itself, in any process of any machine that sees the same folders."""

    title: str  # of the progress bar
    # Every item, those that are there among them, in the same order on every machine: parts are told apart by it.
    items: Sequence[Item]
    # A function of a module, or a `functools.partial` of one: it and the items travel to other processes.
    make: Callable[[Item], Result]
    # Where an item's results lie, each file whole or not there. An item without files was never made before; one
    # whose files are all there is not made again.
    files: Callable[[Item], Sequence[Path]] = lambda _: ()
    size: Callable[[Item], int] = lambda _: 1  # of an item, in `unit`: what progress is counted in
    unit: str = "items"

    def items_of(self, shard: Shard) -> list[Item]:
        """Return the items of one part."""
        return list(self.items[shard.number - 1 :: shard.of])

    def is_there(self, item: Item) -> bool:
        """Whether an item was made before."""
        files = self.files(item)
        return bool(files) and all(path.exists() for path in files)

    def sweep(self, items: Sequence[Item]) -> None:
        """Delete what writers of these items that were killed left behind, where the whole files are there now."""
        files = {path for item in items for path in self.files(item)}
        for folder in {path.parent for path in files}:
            for leftover, path in partials(folder):
                if path in files and path.exists():
                    leftover.unlink(missing_ok=True)
