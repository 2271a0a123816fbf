# SPDX-License-Identifier: Apache-2.0
"""Rows of ``swiftvla doctor`` and ``swiftvla preflight``, as the terminal shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from swiftvla_ros.cli.output import console
from swiftvla_ros.preflight.row import Row, Status, worst

# How a row's status is shown: its colour, and the word for terminals and readers without colours.
_SHOWN: dict[Status, tuple[str, str]] = {
    "fail": ("red", "FAIL"),
    "warning": ("yellow", "warn"),
    "ok": ("green", "ok"),
    "skipped": ("dim", "skip"),
}
_STATUS_WIDTH = 4


def print_sections(sections: Mapping[str, Sequence[Row]]) -> None:
    """Print a table a section; the fix stands below what it mends."""
    width = max(len(check.name) for checks in sections.values() for check in checks)
    for title, checks in sections.items():
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(width=_STATUS_WIDTH, no_wrap=True)
        table.add_column(width=min(width, console.width // 3), overflow="fold")
        table.add_column(ratio=1)
        for check in checks:
            color, word = _SHOWN[check.status]
            finding = Text(check.finding)
            if check.fix and check.status != "ok":
                finding.append(f"\n→ {check.fix}", style="bold" if check.status == "fail" else "")
            table.add_row(Text(word, style=color), check.name, finding)
        console.print(Text(f"\n{title}", style="bold"))
        console.print(table)
    console.print(_closing(sections))


def _closing(sections: Mapping[str, Sequence[Row]]) -> Text:
    everything = [check for checks in sections.values() for check in checks]
    count = {status: sum(check.status == status for check in everything) for status in _SHOWN}
    color, _ = _SHOWN[worst(everything)]
    parts = [f"{count[status]} {_SHOWN[status][1]}" for status in _SHOWN if count[status]]
    return Text(f"\n{', '.join(parts)}", style=f"bold {color}")
