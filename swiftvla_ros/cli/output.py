# SPDX-License-Identifier: Apache-2.0
"""How commands speak: to a person, in tables, to a file, and when they refuse."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

console = Console(highlight=False)

JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the printed figures to this file, too.")
]


def print_table(columns: Iterable[str | Column], rows: Iterable[Iterable[object]], title: str | None = None) -> None:
    """Print a table; what its cells hold is written as ``str`` has it."""
    table = Table(*columns, title=title, box=SIMPLE)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    console.print(table)


def print_advice(sentences: Iterable[str]) -> None:
    """Print what limits a run's latency and what to turn; nothing where nothing does."""
    for text in sentences:
        console.print(f"latency: {text}", style="yellow", markup=False)


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """Write ``figures`` to ``path`` where one was given; a figure that is not finite becomes null."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_finite(figures), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class BagWarnings(logging.Handler):
    """Shows what readers tell of bags, each line once; ``incomplete``: something that was recorded was not read."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.incomplete = False
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Show one line."""
        self.incomplete |= getattr(record, "incomplete", False)
        line = record.getMessage()
        if line not in self._shown:
            self._shown.add(line)
            console.print(f"[yellow]{escape(line)}[/]")


@contextmanager
def bag_warnings() -> Iterator[BagWarnings]:
    """Show what readers of bags warn of while a command runs, however deep in it they are."""
    logger, handler = logging.getLogger("swiftvla_ros.episodes.bags"), BagWarnings()
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def refuse(error: object) -> NoReturn:
    """Print ``error`` without a traceback and end with exit code 2: the input is wrong, not the program."""
    typer.secho(str(error), fg="red", err=True)
    raise typer.Exit(2)
