# SPDX-License-Identifier: Apache-2.0
"""What the models of contract keys are made of."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _no_truth(value: object) -> object:
    """YAML's yes, on and true are no numbers, though Python counts them as 1."""
    if isinstance(value, bool):
        raise ValueError("is no number; write one")
    return value


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_no_truth)]
Finite = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_no_truth)]
Topic = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class Strict(BaseModel):
    """Keys of a contract file: an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def leaves_of(annotation: Any, step: str = "") -> Iterator[tuple[str, Any]]:
    """The types and literal values in an annotation, with what stands between a key and them."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        yield from ((step, value) for value in inside)
    elif not inside:
        yield step, annotation
    else:
        step += "[]" if origin is tuple else ".<name>" if origin is dict else ""
        for part in inside[:1] if origin in (tuple, Annotated) else inside[-1:] if origin is dict else inside:
            yield from leaves_of(part, step)


def did_you_mean(word: object, known: Collection[str]) -> str:
    """Say what to write instead of ``word``: the nearest of the known words, or one of them."""
    lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(str(word)[:100].lower(), lower, n=1)
    return f"did you mean '{lower[near[0]]}'?" if near else f"write one of {list(known)}"
