# SPDX-License-Identifier: Apache-2.0
"""What people gave and can't be used, as one kind of error: whoever talks to people shows it without a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_SHOWN = 3
_LONGEST = 80


class UserError(Exception):
    """The base of what every room raises of its inputs; the text names what is wrong, and what to do instead."""


def in_a_sentence(error: ValidationError) -> str:
    """Tell what pydantic found, each key with what is wrong and what stands there; the first few of many."""
    problems = []
    for entry in error.errors()[:_SHOWN]:
        key, message = ".".join(map(str, entry["loc"])), entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "missing":
            problems.append(f"{key} is missing")
        elif entry["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            problems.append(f"{key} is unknown")
        elif isinstance(entry["input"], dict) or not key:
            problems.append(f"{key}: {message}" if key else message)
        else:
            found = repr(entry["input"])
            problems.append(f"{key}: {message} (got {found if len(found) <= _LONGEST else found[:_LONGEST] + ' …'})")
    more = f" and {error.error_count() - _SHOWN} more" if error.error_count() > _SHOWN else ""
    return "; ".join(problems) + more
