# SPDX-License-Identifier: Apache-2.0
"""A sentence → numbers of words; slips of the finger are mended where a word is none."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

PADDING, UNKNOWN = 0, 1
MOST_WORDS = 32
"""Of a sentence, so many words are read."""
_FIRST = 2
_SHORTEST_MENDED = 4
_WORD = re.compile(r"\w+(?:'\w+)?")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def words_of(text: str) -> list[str]:
    """The words of a sentence in lower case, without punctuation."""
    return _WORD.findall(text.casefold().replace("\u2019", "'"))


class Vocabulary:
    """Numbers of the words; 0 pads, 1 is what isn't known.

    Parameters
    ----------
    words
        In the order of their numbers.
    familiar
        Those that a slip of the finger may have been meant as: the words of what was trained on.
    """

    def __init__(self, words: Sequence[str], familiar: Collection[str]) -> None:
        self.words = tuple(words)
        self.familiar = frozenset(familiar)
        self._number = {word: k + _FIRST for k, word in enumerate(self.words)}

    def __call__(self, text: str) -> list[int]:
        """Numbers [n] of a sentence's words; one unknown where there are none."""
        return [self._of(word) for word in words_of(text)[:MOST_WORDS]] or [UNKNOWN]

    def __len__(self) -> int:
        return len(self.words) + _FIRST

    def _of(self, word: str) -> int:
        number = self._number.get(word)
        if number is None and len(word) >= _SHORTEST_MENDED and word.isascii() and word.isalpha():
            # Of several the first by the alphabet: the same sentence is always read alike.
            mended = min(self.familiar & _one_slip(word), default="")
            number = self._number.get(mended)
        return UNKNOWN if number is None else number


def _one_slip(word: str) -> set[str]:
    """What one slip of the finger can have made this of: letters swapped, left out, another one, one too many."""
    cuts = [(word[:k], word[k:]) for k in range(len(word) + 1)]
    swapped = {a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1}
    too_many = {a + b[1:] for a, b in cuts if b}
    other = {a + letter + b[1:] for a, b in cuts if b for letter in _LETTERS}
    return swapped | too_many | other | {a + letter + b for a, b in cuts for letter in _LETTERS}
