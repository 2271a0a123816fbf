# SPDX-License-Identifier: Apache-2.0
"""What people gave and can't be used, as one kind of error: whoever talks to people shows it without a traceback."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

Kind = TypeVar("Kind")

# Longer than any path or name that people give, and than any list of reasons that is read.
_LONGEST_WORD, _LONGEST_TEXT = 600, 6000
_SHOWN = 3
_LONGEST = 80


class UserError(Exception):
    """The base of what every room raises of its inputs; the text names what is wrong, and what to do instead."""

    def __str__(self) -> str:
        """Return the text for people: what a damaged file holds is quoted, but not by the page."""
        text = re.sub(rf"\S{{{_LONGEST_WORD},}}", lambda word: word[0][: _LONGEST_WORD // 2] + " …", super().__str__())
        return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " …"


def in_a_sentence(error: ValidationError) -> str:
    """Tell what pydantic found, each key with what is wrong and what stands there; the first few of many."""
    problems = []
    for entry in error.errors()[:_SHOWN]:
        key, message = _short(".".join(map(str, entry["loc"]))), entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "missing":
            problems.append(f"{key} is missing")
        elif entry["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            problems.append(f"{key} is unknown")
        elif isinstance(entry["input"], dict) or not key:
            problems.append(f"{key}: {message}" if key else message)
        else:
            problems.append(f"{key}: {message} (got {_short(repr(entry['input']))})")
    more = f" and {error.error_count() - _SHOWN} more" if error.error_count() > _SHOWN else ""
    return "; ".join(problems) + more


def checked(kind: Callable[..., Kind], data: Any) -> Kind:
    """Make a dataclass of what a JSON file says, the inverse of ``dataclasses.asdict``.

    Raises
    ------
    ValueError
        A field is unknown, missing or none that ``kind`` allows.
    """
    from pydantic import ValidationError

    try:
        # As text: where types are strict, a list of JSON is a tuple all the same.
        made: Kind = _reader(kind).validate_json(json.dumps(data))
    except ValidationError as error:
        raise ValueError(in_a_sentence(error)) from None
    return made


@cache  # making one takes longer than reading
def _reader(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
