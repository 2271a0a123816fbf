# SPDX-License-Identifier: Apache-2.0
"""What a grammar is made of: ways to say one thing, some of them kept from training as a whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

_FIRST, _TENTH = 4, 10


@dataclass(frozen=True, eq=False)
class Parts:
    """Ways to say one thing: those that are trained on, and those that no trained sentence is built with."""

    trained: tuple[str, ...]
    held_out: tuple[str, ...]
    calibrates: tuple[str, ...] = ()  # of what is trained on, what `calibration` gives; empty: a tenth of it


Side = Callable[[Parts], tuple[str, ...]]
"""Which of some parts may be used."""


def trained(parts: Parts) -> tuple[str, ...]:
    """All that is trained on."""
    return parts.trained


def held_out(parts: Parts) -> tuple[str, ...]:
    """All that is kept from training."""
    return parts.held_out


@cache
def calibration(parts: Parts) -> tuple[str, ...]:
    """A tenth of what is trained on: what the bound of "not understood" is chosen with, and the network never sees."""
    return parts.calibrates or parts.trained[_FIRST::_TENTH]


@cache
def rest(parts: Parts) -> tuple[str, ...]:
    """What is left of it: what the network sees."""
    own = set(calibration(parts))
    return tuple(part for part in parts.trained if part not in own)


def lines(text: str) -> tuple[str, ...]:
    """The lines of a text that is written down as a block."""
    return tuple(line.strip() for line in text.strip().splitlines())
