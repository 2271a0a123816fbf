# SPDX-License-Identifier: Apache-2.0
"""How far a work is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# Between two lines of a log, s.
_LINE_S = 60.0


class WorkProgress:
    """Counts what was made now; a context."""

    def __init__(self, title: str, unit: str, total: int, *, shown: bool, console: Console | None = None) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(), TimeRemainingColumn(),
        )  # fmt: skip
        self._bar = Progress(*columns, console=console, disable=not shown)
        self._task = self._bar.add_task(title, total=total, rate="")
        self._title, self._unit, self._total, self._shown = title, unit, total, shown
        self._done = 0
        self._begin_s = self._told_s = time.monotonic()

    def __enter__(self) -> WorkProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def made(self, size: int) -> None:
        """Count an item."""
        self._done += size
        self._bar.update(self._task, advance=size, rate=self._rate())

    def told(self) -> None:
        """Write a line where there is no terminal for a bar, once in a while."""
        now_s = time.monotonic()
        if self._shown and not self._bar.console.is_terminal and now_s - self._told_s > _LINE_S:
            self._told_s = now_s
            self._bar.console.print(f"{self._title}: {self._done} of {self._total} {self._unit}, {self._rate()}")

    def say(self, line: str) -> None:
        """Write a line."""
        if self._shown:
            self._bar.console.print(f"{self._title}: {line}", markup=False)

    def _rate(self) -> str:
        return f"{self._done / max(1e-3, time.monotonic() - self._begin_s):.3g} {self._unit}/s"
