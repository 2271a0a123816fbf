# SPDX-License-Identifier: Apache-2.0
"""What the models of contract keys are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Topic = Annotated[str, Field(pattern=r"^[~/a-zA-Z]")]


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
