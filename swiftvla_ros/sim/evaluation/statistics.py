# SPDX-License-Identifier: Apache-2.0
"""Shares with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """``count`` of ``total``, with the 95 % Wilson score interval ``low``…``high`` (0…1; NaN of nothing)."""

    count: int
    total: int
    share: float
    low: float
    high: float

    def __str__(self) -> str:
        if not self.total:
            return "of none"
        return f"{self.count}/{self.total} = {self.share:.0%} ({self.low:.0%}…{self.high:.0%})"


def wilson(count: int, total: int) -> Share:
    """Share with its Wilson interval (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927), z = 1.96."""
    if total == 0:
        return Share(0, 0, math.nan, math.nan, math.nan)
    z, p = 1.959964, count / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    return Share(count, total, p, max(0.0, centre - half), min(1.0, centre + half))


@dataclass(frozen=True)
class PairedDifference:
    """How much oftener ``second`` did it than ``first``, in the same scenes; ``low``…``high`` is its 95 % interval."""

    total: int
    only_first: int
    only_second: int
    difference: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{self.difference:+.1%} ({self.low:+.1%}…{self.high:+.1%}) in {self.total} scenes; "
            f"{self.only_second} only with it, {self.only_first} only without"
        )


def paired_difference(first: Sequence[bool], second: Sequence[bool]) -> PairedDifference:
    """Difference of two shares of the same scenes (adjusted Wald interval: Bonett and Price, 2012)."""
    total = len(first)
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    if total == 0:
        return PairedDifference(0, 0, 0, math.nan, math.nan, math.nan)
    p, q = (only_first + 1) / (total + 2), (only_second + 1) / (total + 2)
    half = 1.959964 * math.sqrt((p + q - (p - q) ** 2) / (total + 2))
    centre = q - p
    return PairedDifference(
        total,
        only_first,
        only_second,
        (only_second - only_first) / total,
        max(-1.0, centre - half),
        min(1.0, centre + half),
    )


def shares_by_task(
    episodes: Sequence[tuple[str, str, str]], outcome: str, verbs: Iterable[str], colors: Iterable[str]
) -> dict[str, Share]:
    """Shares of episodes (verb, colour, outcome) that end with ``outcome``: by "all", "<verb>", "<verb> <colour>"."""

    def share(verb: str | None = None, color: str | None = None) -> Share:
        chosen = [found == outcome for v, c, found in episodes if verb in (None, v) and color in (None, c)]
        return wilson(sum(chosen), len(chosen))

    shares = {"all": share()}
    for verb in verbs:
        shares[verb] = share(verb)
        shares |= {f"{verb} {color}": share(verb, color) for color in colors}
    return shares
