# SPDX-License-Identifier: Apache-2.0
"""Sentences drawn from the grammar: what means a task, and what means none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from swiftvla_ros.errors import UserError
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.wording.frames import FRAMES, NEGATIONS
from swiftvla_ros.sim.wording.others import FOREIGN, TALK
from swiftvla_ros.sim.wording.parts import Side
from swiftvla_ros.sim.wording.things import COLOR_WORDS, NOUNS, OTHER_COLORS, OTHER_THINGS, PHRASES
from swiftvla_ros.sim.wording.verbs import OTHER_VERBS, VERBS

# How often a sentence is as people type it.
_TYPO, _CAPITAL, _STOP = 0.12, 0.25, 0.2
# How often a colour has another name.
_SYNONYM = 0.3
_CORRECTED = 0.15
# How often a block has another name than that.
_NOT_BLOCK = 0.6
# Of what means no task: how often talk, or a task that is denied, is wrapped as tasks are, a verb is another task's,
# another thing has no colour, and a salad is of words that tasks are made of.
_WRAPPED, _OTHER_TASK, _PLAIN, _OWN = 0.2, 0.25, 0.3, 0.3
# How often another verb is a task's, denied.
_DENIED = 0.35
_OWN_SALAD = (*NOUNS.trained, *COLORS, *COLORS, *["the", "of", "up", "and", "on", "a", "it", "to", "with"])
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_NO_TASK = ("other verb", "other thing", "other color", "two blocks", "foreign", "talk", "salad", "letters")
"""Kinds of sentences that mean no task; those of another verb are often tasks that are denied."""


class NoWordingError(UserError, ValueError):
    """A task that the grammar, or the list written by hand, has no words for."""


class Grammar:
    """Sentences in which something is new: of verb, object and frame at least one is of ``new``, the others of ``old``.

    Where ``new`` is None all are of ``old``, as in training.
    """

    def __init__(self, tasks: Sequence[Task], old: Side, new: Side | None = None) -> None:
        for task in tasks:
            if (task.verb, task.where) not in VERBS:
                place = f" ({task.where})" if task.where else ""
                raise NoWordingError(
                    f"task '{task.verb}'{place}: the grammar has no verbs for it; sim/wording/verbs.py has them"
                )
        self.tasks, self._old, self._new = tuple(tasks), old, new or old
        self._asked = sorted({(task.verb, task.where) for task in tasks})

    def sentence(self, task: Task, rng: np.random.Generator) -> str:
        """A sentence that means ``task``."""
        which = int(rng.integers(1, 8))
        verb = _one(self._side(which & 1)(VERBS[task.verb, task.where]), rng)
        text = self._framed(verb, self._thing(task.color, rng, bool(which & 2)), rng, bool(which & 4))
        if rng.random() < _CORRECTED:
            other = COLORS[(COLORS.index(task.color) + int(rng.integers(1, len(COLORS)))) % len(COLORS)]
            noun = NOUNS.trained[int(rng.integers(4))]
            text = f"{text}, not the {other} {noun}" if rng.random() < 0.5 else f"not the {other} {noun}, {text}"
        return _typed(text, rng)

    def no_task(self, rng: np.random.Generator, words: Sequence[str]) -> str:
        """A sentence that means none of the tasks; ``words`` are what a salad is made of beside the grammar's own."""
        kind = _NO_TASK[int(rng.integers(len(_NO_TASK)))]
        if kind == "other verb":
            color = _one(COLORS, rng)
            if rng.random() < _DENIED:
                verb = self._asked_verb(rng).format(o=self._thing(color, rng, False))
                text = _one(self._new(NEGATIONS), rng).format(s=verb)
                if rng.random() < _WRAPPED:
                    text = self._wrapped(text, rng)
            else:
                text = self._framed(self._other_verb(rng), self._thing(color, rng, True), rng, True)
        elif kind in ("other thing", "other color"):
            text = self._framed(self._asked_verb(rng), self._other_thing(kind, rng), rng, False)
        elif kind == "two blocks":
            first, second = rng.permutation(len(COLORS))[:2]
            nouns, link = self._new(NOUNS), _one(("and", "or", "and then"), rng)
            both = f"the {COLORS[first]} {_one(nouns, rng)} {link} the {COLORS[second]} {_one(nouns, rng)}"
            text = self._framed(self._asked_verb(rng), both, rng, True)
        elif kind == "foreign":
            text = _one(self._new(FOREIGN), rng)
        elif kind == "talk":
            text = _one(self._new(TALK), rng)
            if rng.random() < _WRAPPED:
                text = self._wrapped(text, rng)
        elif kind == "salad":
            source = _OWN_SALAD if rng.random() < _OWN else words
            text = " ".join(_one(source, rng) for _ in range(int(rng.integers(1, 9))))
        else:
            lengths = rng.integers(2, 10, int(rng.integers(1, 6)))
            text = " ".join("".join(_one(_LETTERS, rng) for _ in range(int(n))) for n in lengths)
        return _typed(text, rng)

    def _side(self, new: int) -> Side:
        return self._new if new else self._old

    def _asked_verb(self, rng: np.random.Generator) -> str:
        return _one(self._old(VERBS[self._asked[int(rng.integers(len(self._asked)))]]), rng)

    def _other_verb(self, rng: np.random.Generator) -> str:
        """A verb of no task, or of one that isn't asked for here."""
        others = [parts for key, parts in VERBS.items() if key not in self._asked]
        if others and rng.random() < _OTHER_TASK:
            return _one(self._new(others[int(rng.integers(len(others)))]), rng)
        return _one(self._new(OTHER_VERBS), rng)

    def _other_thing(self, kind: str, rng: np.random.Generator) -> str:
        if kind == "other color":
            color, noun = _one(self._new(OTHER_COLORS), rng), _one(self._old(NOUNS), rng)
        else:
            color, noun = _one(COLORS, rng), _one(self._new(OTHER_THINGS), rng)
            if rng.random() < _PLAIN:
                return f"the {noun}"
        # What a thing is has to be said where it decides.
        named = [phrase for phrase in self._old(PHRASES) if "{n}" in phrase or kind == "other color"]
        return _one(named, rng).format(c=color, n=noun)

    def _thing(self, color: str, rng: np.random.Generator, new: bool) -> str:
        # Noun and phrase are seldom new at once.
        new_noun, new_phrase = ((True, True), (True, False), (False, True))[int(rng.integers(3))] if new else (0, 0)
        noun = _one(self._side(new_noun)(NOUNS), rng) if new_noun or rng.random() < _NOT_BLOCK else "block"
        if rng.random() < _SYNONYM:
            color = _one(self._old(COLOR_WORDS[color]), rng)
        return _one(self._side(new_phrase)(PHRASES), rng).format(c=color, n=noun)

    def _wrapped(self, text: str, rng: np.random.Generator) -> str:
        return _one([frame for frame in self._new(FRAMES) if "{s}" in frame], rng).format(s=text)

    def _framed(self, verb: str, thing: str, rng: np.random.Generator, new: bool) -> str:
        frame = _one(self._side(new)(FRAMES), rng)
        return frame.format(s=verb.format(o=thing), o=thing, it=verb.format(o="it"))


def _one(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _typed(text: str, rng: np.random.Generator) -> str:
    """As people type: now and then a slip, a capital, a full stop."""
    if rng.random() < _TYPO:
        text = slip(text, rng)
    if rng.random() < _CAPITAL:
        text = text[:1].upper() + text[1:]
    return f"{text}." if text[-1:].isalpha() and rng.random() < _STOP else text


def slip(text: str, rng: np.random.Generator) -> str:
    """One slip of the finger in a word of four letters or more: swapped, doubled, left out, or another letter."""
    words = text.split(" ")
    long = [k for k, word in enumerate(words) if len(word) >= 4 and word.isascii()]
    if not long:
        return text
    at = long[int(rng.integers(len(long)))]
    word, k, kind = words[at], int(rng.integers(1, len(words[at]) - 1)), int(rng.integers(4))
    changed = (
        word[:k] + word[k + 1] + word[k] + word[k + 2 :],
        word[:k] + word[k] + word[k:],
        word[:k] + word[k + 1 :],
        word[:k] + _one(_LETTERS, rng) + word[k + 1 :],
    )
    words[at] = changed[kind]
    return " ".join(words)
