# SPDX-License-Identifier: Apache-2.0
"""Instructions without variety or with slips, lengths out of the ordinary, and the same episode twice."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from swiftvla_ros.episodes.quality.findings import Digest, Finding

# From so many episodes on one wording for all is told: a policy does not listen to words that never differ.
MANY = 10
# As alike as a slip of the finger in a short sentence.
ALIKE = 0.95
# Robust deviations from the usual length, and times longer or shorter: both, so that even sets have no outliers.
LENGTH_DEVIATIONS, LENGTH_FACTOR = 4.0, 1.8
# Shorter than any task.
SHORT_S = 1.0
_ENOUGH_EPISODES = 5
_MAD_TO_SIGMA = 1.4826


def check_words(digests: Sequence[Digest]) -> list[Finding]:
    """Judge the instructions, the lengths, and what is there twice."""
    return [*_instructions(digests), *_lengths(digests), *_twice(digests)]


def _instructions(digests: Sequence[Digest]) -> list[Finding]:
    counts = Counter(digest.instruction for digest in digests)
    found = []
    if len(counts) == 1 and len(digests) >= MANY:
        text = f"all {len(digests)} episodes say '{next(iter(counts))}'"
        fix = "say it in other words, or show other tasks, or the policy won't listen to what it is told"
        found.append(Finding("instruction", "warning", "", "instruction", 1.0, text, fix))
    for one, other in combinations(sorted(counts, key=lambda words: counts[words]), 2):
        alike = difflib.SequenceMatcher(None, one.casefold(), other.casefold()).ratio()
        # Where a whole word differs it is another task: red is not blue.
        words = set(one.casefold().split()) ^ set(other.casefold().split())
        if one.casefold() == other.casefold() or (alike > ALIKE and _slip(words)):
            text = f"'{one}' ({counts[one]}) and '{other}' ({counts[other]}) differ by a slip"
            found.append(Finding("instruction", "warning", "", "instruction", alike, text, "write them the same"))
    return found


def _slip(words: set[str]) -> bool:
    """Whether two words differ by a letter or two."""
    if len(words) != 2:
        return False
    one, other = words
    return difflib.SequenceMatcher(None, one, other).ratio() > 0.75


def _lengths(digests: Sequence[Digest]) -> list[Finding]:
    found = []
    for digest in digests:
        if digest.seconds < SHORT_S:
            text = f"lasts {digest.seconds:.1f} s"
            fix = "it was ended too early: leave it out"
            found.append(Finding("length", "warning", digest.name, "length", digest.seconds, text, fix))
    seconds = np.array([digest.seconds for digest in digests])
    if len(digests) < _ENOUGH_EPISODES:
        return found
    usual = float(np.median(seconds))
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(seconds - usual)))
    for digest in digests:
        factor = max(digest.seconds / usual, usual / max(digest.seconds, 1e-9))
        if abs(digest.seconds - usual) > LENGTH_DEVIATIONS * spread and factor > LENGTH_FACTOR:
            text = f"lasts {digest.seconds:.1f} s, the others {usual:.1f} s"
            fix = "look at it: was something else done, or was it forgotten to be ended?"
            found.append(Finding("length", "warning", digest.name, "length", digest.seconds, text, fix))
    return found


def _twice(digests: Sequence[Digest]) -> list[Finding]:
    first: dict[str, str] = {}
    found = []
    for digest in digests:
        known = first.setdefault(digest.trace, digest.name)
        if known != digest.name:
            text = f"is the same motion as {known}, number for number"
            found.append(Finding("twice", "error", digest.name, "episode", 1.0, text, "leave one of the two out"))
    return found
