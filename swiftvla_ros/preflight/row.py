# SPDX-License-Identifier: Apache-2.0
"""One row of what ``swiftvla doctor`` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "warning", "fail", "skipped"]
# What the whole is, from its rows: the first of these that occurs.
_WORST_FIRST: tuple[Status, ...] = ("fail", "warning", "ok")

KB, MB, GB = 1_000, 1_000_000, 1_000_000_000


@dataclass(frozen=True)
class Row:
    """What was looked at, how it is, and what to do about it.

    ``warning``: it runs, but not as it should, or not for long. ``skipped``: could not be, or need not be, looked at.
    """

    name: str
    status: Status
    finding: str
    fix: str = ""


def worst(checks: Iterable[Row]) -> Status:
    """How it is altogether; what was skipped spoils nothing."""
    found = {check.status for check in checks}
    return next((status for status in _WORST_FIRST if status in found), "ok")


def report(sections: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Return the figures of ``--json``: how it is altogether, and each row."""
    rows = [{"section": section, **asdict(check)} for section, checks in sections.items() for check in checks]
    return {"status": worst(c for checks in sections.values() for c in checks), "checks": rows}


def size(number: float) -> str:
    """Write a number of bytes for people."""
    for unit, name in ((GB, "GB"), (MB, "MB"), (KB, "kB")):
        if number >= unit:
            return f"{number / unit:.{1 if number < 10 * unit else 0}f} {name}"
    return f"{number:.0f} bytes"


def names(found: Iterable[str]) -> str:
    """Write names as a list."""
    return ", ".join(sorted(found))
