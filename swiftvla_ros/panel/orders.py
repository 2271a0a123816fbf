# SPDX-License-Identifier: Apache-2.0
"""What a page may ask for: each order's name, what belongs to it, who may give it and how long its answer may take."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

MAX_MESSAGE_BYTES = 4096
"""Nothing that a page has to say is longer."""
_LONGEST_TEXT = 1024


class OrderError(ValueError):
    """A message that is no order; the text says why, for the page."""


@dataclass(frozen=True)
class OrderKind:
    """What belongs to an order: a text of at most ``text`` characters, a number of ``span``.

    ``anybody``: also from a page that doesn't hold the controls.
    """

    text: int = 0
    span: tuple[float, float] | None = None
    anybody: bool = False
    timeout_s: float = 5.0


@dataclass(frozen=True)
class Order:
    """An order that was read from a page's message."""

    name: str
    text: str = ""
    number: float = 0.0

    @property
    def kind(self) -> OrderKind:
        """What belongs to it, and who may give it."""
        return ORDERS[self.name]


ORDERS = {
    "emergency_stop": OrderKind(anybody=True),
    "start": OrderKind(),
    "stop": OrderKind(),
    "reset": OrderKind(),
    "take_over": OrderKind(),
    "give_back": OrderKind(),
    "instruct": OrderKind(text=256),
    "speed": OrderKind(span=(0.0, 100.0)),
    "check_preflight": OrderKind(timeout_s=30.0),
    "save_black_box": OrderKind(timeout_s=10.0),
    "demonstration_begin": OrderKind(timeout_s=10.0),
    "demonstration_re_record": OrderKind(timeout_s=10.0),
    "demonstration_finish": OrderKind(timeout_s=10.0),
    "demonstration_instruct": OrderKind(text=256),
    # The text is the note; the number the verdict, as JudgeEpisode has it.
    "demonstration_judge": OrderKind(text=256, span=(0, 2), timeout_s=10.0),
    "read_card": OrderKind(text=_LONGEST_TEXT),
    "use_checkpoint": OrderKind(text=_LONGEST_TEXT, timeout_s=180.0),
}
"""By name; the node has something to do for each."""


def read_message(data: str) -> dict[str, Any]:
    """Read what a page sent; OrderError where it is no object of JSON, or doesn't say what to ``do``."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise OrderError("not JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("do"), str):
        raise OrderError("no object that says what to do")
    return message


def read_order(message: dict[str, Any]) -> Order:
    """Read an order; OrderError where there is none of that name, or its text or number can't be used."""
    kind = ORDERS.get(message["do"])
    if kind is None:
        raise OrderError("no such order")
    text, number = message.get("text", ""), message.get("number", 0.0)
    if not isinstance(text, str) or len(text) > kind.text:
        raise OrderError(f"the text may have at most {kind.text} characters")
    if any(ord(character) < 32 for character in text):
        raise OrderError("the text may hold no control characters, such as line breaks")
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
        raise OrderError("the number is none")
    if kind.span is not None and not kind.span[0] <= number <= kind.span[1]:
        raise OrderError(f"the number must be {kind.span[0]:g} to {kind.span[1]:g}")
    return Order(message["do"], text, float(number))
