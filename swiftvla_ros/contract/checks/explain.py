# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a contract's keys, as a person would write them: one line each."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from swiftvla_ros.contract import schema
from swiftvla_ros.contract.base import did_you_mean, leaves_of

_UNIT_FIXES = {
    **dict.fromkeys(("degrees", "degree", "°", "deg/s"), "deg"),
    **dict.fromkeys(("radians", "radian", "rads", "rad/s"), "rad"),
    **dict.fromkeys(("%", "percentage"), "percent"),
    **dict.fromkeys(("millimeter", "millimeters", "millimetre", "millimetres"), "mm"),
    **dict.fromkeys(("meter", "meters", "metre", "metres"), "m"),
}
_MOST_LINES = 20
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 60
_SHOWN.maxlong = 30


def explain_all(errors: list[Any], data: Any) -> list[str]:
    """Return one line for each of pydantic's errors, as many as a person reads."""
    # A list whose entries are all wrong is also "too short", which says nothing more.
    places = [error["loc"] for error in errors]
    told = [
        error
        for error in errors
        if error["type"] != "too_short"
        or not any(len(p) > len(error["loc"]) and p[: len(error["loc"])] == error["loc"] for p in places)
    ]
    return at_most(_MOST_LINES, [_explain(error, data) for error in told[: _MOST_LINES + 1]], len(told))


def at_most(most: int, lines: list[str], count: int) -> list[str]:
    """Return the first lines, and how many of ``count`` are left out."""
    return lines if count <= most else [*lines[:most], f"and {count - most} more such mistakes; correct these first"]


def _explain(error: Any, data: Any) -> str:
    """The key as a person would write it, what is wrong, what to write."""
    location = tuple(p for p in error["loc"] if not (isinstance(p, str) and p.startswith(("tuple[", "function-", "<"))))
    key = _key(location, data)
    kind, given = error["type"], error["input"]
    if kind == "extra_forbidden":
        return f"{key}: unknown key; {_known_key(str(location[-1]), _model_at(location[:-1]))}"
    if kind == "missing" and isinstance(location[-1], int):
        return f"{_key(location[:-1], data)}: too few values (got {_SHOWN.repr(given)}); write {_meaning(location)}"
    if kind == "missing":
        return f"{key}: missing; add it ({_meaning(location)})"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{key}: {_SHOWN.repr(given)} stands where keys are expected; {_keys_of(location)}"
    if location and location[-1] == "unit":
        fix = _UNIT_FIXES.get(str(given).lower())
        meant = f"write '{fix}'" if fix else did_you_mean(given, schema.UNITS)
        return f"{key}: unit {_SHOWN.repr(given)} is unknown; {meant}"
    if kind == "literal_error":
        return f"{key}: {_SHOWN.repr(given)} is not allowed; {_allowed(given, error.get('ctx', {}))}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = message.replace("valid tuple", "list").replace("Tuple", "list").replace("tuple", "list")
    if kind in ("too_long", "too_short"):
        return f"{key}: {message[0].lower()}{message[1:].split(' after validation')[0]}"
    shown = "" if isinstance(given, dict) else f" (got {_SHOWN.repr(given)})"
    if kind == "tuple_type":
        shown += "; write one entry in each line, after '- '"
    elif kind == "string_type":
        shown += "; put a text that YAML takes for something else in quotes"
    elif kind == "finite_number":
        shown += "; write a number"
    elif key.endswith("_hz") and isinstance(given, (int, float)) and 0 < given < 1:
        shown += f"; a period of {given:g} s is {1 / given:.3g} Hz"
    return f"{key}: {message}{shown}" if key else message


def _meaning(location: tuple[int | str, ...]) -> str:
    """What the key at a location, or the key above its number in a list, is for."""
    *above, last = [step for step in location if isinstance(step, str)] or [""]
    field = _model_at(tuple(above)).model_fields.get(last)
    return str(field.description) if field is not None else "what belongs there"


def _allowed(given: object, context: dict[str, Any]) -> str:
    expected = str(context.get("expected", "one of the allowed values"))
    words = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
    near = difflib.get_close_matches(str(given).lower()[:100], words, n=1)
    return f"did you mean '{near[0]}'? It is {expected}" if near else f"write {expected}"


def _keys_of(location: tuple[int | str, ...]) -> str:
    keys = list(_model_at(location).model_fields) if location else []
    return f"write {', '.join(f'`{key}: …`' for key in keys[:4])}" if keys else "write `key: value`"


def _known_key(word: str, model: type[BaseModel]) -> str:
    known = list(model.model_fields)
    near = difflib.get_close_matches(word[:100].lower(), known, n=1)
    if near:
        return f"did you mean '{near[0]}'?"
    elsewhere = [place for place, each in _sections(schema.ContractFile) if word in each.model_fields]
    if elsewhere:
        return f"it belongs {' or '.join(f'into {place}' if place else 'to the top' for place in elsewhere)}"
    return f"known keys are {sorted(known)}"


def _sections(model: type[BaseModel], place: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    yield place, model
    for name, field in model.model_fields.items():
        for step, leaf in leaves_of(field.annotation):
            if isinstance(leaf, type) and issubclass(leaf, BaseModel):
                yield from _sections(leaf, f"{place}.{name}{step}".strip("."))


def _key(location: tuple[int | str, ...], data: Any) -> str:
    """``("joints", 1, "jerk")`` → ``joints.elbow_flex.jerk``, by the entry's own name where it has one."""
    parts: list[str] = []
    here = data
    for step in location:
        if isinstance(step, int) and isinstance(here, dict):
            continue  # one entry where a list may be
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            here = None
        entry = here if isinstance(here, dict) and isinstance(step, int) else {}
        name = entry.get("name", entry.get("joint"))
        shown = name if isinstance(name, str) and name.isprintable() and 0 < len(name) <= 60 else str(step)
        parts.append(shown if shown.isprintable() and len(shown) <= 60 else ascii(shown[:60]))
    return ".".join(parts)


def _model_at(location: tuple[int | str, ...]) -> type[BaseModel]:
    """The model that a key belongs to; names of joints and numbers of entries on the way are no keys."""
    model: type[BaseModel] = schema.ContractFile
    for step in location:
        if step in model.model_fields:
            leaves = [leaf for _, leaf in leaves_of(model.model_fields[str(step)].annotation)]
            model = next((leaf for leaf in leaves if isinstance(leaf, type) and issubclass(leaf, BaseModel)), model)
    return model
