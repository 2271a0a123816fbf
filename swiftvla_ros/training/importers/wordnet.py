# SPDX-License-Identifier: Apache-2.0
"""What WordNet's files say of words: of which more general things and doings each is a kind.

https://wordnet.princeton.edu: the database's files (``data.verb``, ``index.verb`` …), such as in Debian's wordnet-base.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.files import unreadable
from swiftvla_ros.training.words.vectors import VectorsError

# Part of speech: the file's ending, its letter, and the numbers that its senses are hashed into.
_PARTS = (("verb", "v", 768), ("noun", "n", 768), ("adj", "a", 256))
_SENSES, _LATER_SENSE, _UP, _LEAST = 6, 0.5, 0.75, 0.12
_HASHES = 4
_ENDINGS = (("", ""), ("ies", "y"), ("es", ""), ("s", ""), ("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"))

_Graph = dict[str, list[str]]


def kinds(folder: Path, words: Sequence[str]) -> NDArray[np.float32]:
    """Vectors [v, 1792]: words of common ancestors lie near each other; zeros for what WordNet hasn't.

    Raises VectorsError where the files aren't in ``folder``.
    """
    blocks = []
    for name, letter, width in _PARTS:
        try:
            senses, above = _senses(folder / f"index.{name}"), _above(folder / f"data.{name}", letter)
        except (OSError, ValueError, IndexError) as error:
            fix = "name the folder of WordNet's database files (Debian: wordnet-base, in usr/share/wordnet)"
            raise VectorsError(unreadable(folder, error, fix)) from error
        found = [_ancestors(word, senses, above) for word in words]
        often = Counter(sense for weights in found for sense in weights)
        block, places = np.zeros((len(words), width), np.float32), _Places(width)
        for row, weights in enumerate(found):
            for sense, weight in weights.items():
                at, sign = places.of(sense)
                block[row, at] += sign * weight * math.log(len(words) / often[sense])
        blocks.append(block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-6))
    return np.concatenate(blocks, axis=1)


class _Places:
    """Some numbers of a vector for each sense, with signs: drawn as senses come."""

    def __init__(self, width: int) -> None:
        self._rng, self._width = np.random.default_rng(0), width
        self._known: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def of(self, sense: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places and signs."""
        if sense not in self._known:
            self._known[sense] = self._rng.integers(self._width, size=_HASHES), self._rng.choice([-1, 1], _HASHES)
        return self._known[sense]


def _rows(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8") as file:
        yield from (line.split("|")[0].split() for line in file if not line.startswith("  "))


def _senses(path: Path) -> _Graph:
    """Senses of each word, the commonest first."""
    return {row[0]: row[-int(row[2]) :] for row in _rows(path)}


def _above(path: Path, letter: str) -> _Graph:
    """The more general senses of each; of an adjective that is like another one, that one."""
    found: _Graph = {}
    for row in _rows(path):
        first = 4 + 2 * int(row[3], 16)
        pointers = [row[k : k + 4] for k in range(first + 1, first + 1 + 4 * int(row[first]), 4)]
        wanted = ("@", "@i", "&") if row[2] == "s" else ("@", "@i")
        found[row[0]] = [to for symbol, to, part, _ in pointers if symbol in wanted and part == letter]
    return found


def _ancestors(word: str, senses: Mapping[str, list[str]], above: _Graph) -> dict[str, float]:
    """A word's senses and what is above them, with weights that fall with rank and distance."""
    found: dict[str, float] = {}
    stems = (word[: len(word) - len(old)] + new for old, new in _ENDINGS if word.endswith(old))
    stem = next((stem for stem in stems if stem in senses), None)
    for rank, sense in enumerate(senses[stem][:_SENSES] if stem is not None else ()):
        waiting = [(sense, 1 / (1 + _LATER_SENSE * rank))]
        while waiting:
            here, weight = waiting.pop()
            if weight > max(_LEAST, found.get(here, 0)):
                found[here] = weight
                waiting += [(higher, weight * _UP) for higher in above[here]]
    return found
