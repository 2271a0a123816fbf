# SPDX-License-Identifier: Apache-2.0
"""Sentences by the number of their meaning: to fit what reads a policy's instructions, and to ask it for tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from swiftvla_ros.policy.words.reader import plain
from swiftvla_ros.sim.language import Task
from swiftvla_ros.sim.tasks.registry import canonical, definition_of, phrase
from swiftvla_ros.sim.wording.free import FREE, FREE_OF_NO_TASK
from swiftvla_ros.sim.wording.grammar import Grammar, NoWordingError
from swiftvla_ros.sim.wording.parts import calibration, held_out, rest, trained

Wordings = Literal["known", "trained", "held-out", "free"]
"""How tasks are said: as in demonstrations, by the grammar, by its parts that are kept from training, or by hand."""
Said = tuple[str, int | None]
"""A sentence, and the number of the task that it means; None: of none."""
# Words of sentences that nobody would say.
_SALAD = (
    *("apple", "of", "window", "because", "seven", "walk", "green", "under", "tomorrow", "chair", "music", "very"),
    *("not", "fish", "upon", "engine", "why", "soft"),
)
# The grammar draws some of them by chance: they are left out.
_BY_HAND = {plain(text) for said in (*FREE.values(), FREE_OF_NO_TASK) for text in said}
# Known sentences among those of a task.
_KNOWN = 0.1


def sentences_of(tasks: Sequence[Task]) -> tuple[str, ...]:
    """The sentence that a policy gets for each task."""
    return tuple(canonical(task) for task in tasks)


def known_to(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Every sentence that demonstrations of the tasks are told in."""
    return tuple(
        wording.format(color=task.color) for task in tasks for wording in definition_of(task.verb).wordings[task.where]
    )


def say(task: Task, rng: np.random.Generator, wordings: Wordings, tasks: Sequence[Task]) -> str:
    """A task in words.

    Raises
    ------
    NoWordingError
        There are none of that kind.
    """
    if wordings == "known":
        return phrase(task, rng)
    if wordings == "free":
        if task not in FREE:
            raise NoWordingError(
                f"task '{canonical(task)}': nobody wrote sentences by hand; sim/wording/free.py has them"
            )
        return FREE[task][int(rng.integers(len(FREE[task])))]
    new = held_out if wordings == "held-out" else None
    return Grammar(tasks, trained, new).sentence(task, rng)


def meaningless(tasks: Sequence[Task], count: int, seed: int) -> list[str]:
    """So many sentences that mean none of the tasks: those written by hand first, then drawn with held-out parts."""
    rng = np.random.default_rng(seed)
    drawn = Grammar(tasks, trained, held_out)
    more = (drawn.no_task(rng, _SALAD) for _ in range(count - len(FREE_OF_NO_TASK)))
    return [*FREE_OF_NO_TASK[:count], *more]


def training_sentences(
    tasks: Sequence[Task], words: Sequence[str], count: int, seed: int
) -> tuple[list[Said], list[Said]]:
    """About ``count`` sentences of the grammar without a tenth of its trained parts, and a tenth as many with them.

    Half of them mean one of the tasks. ``words`` are what salads are made of.
    """
    rng = np.random.default_rng(seed)
    said = _said(Grammar(tasks, rest), tasks, words, count, rng)
    known: list[Said] = [(phrase(tasks[k % len(tasks)], rng), k % len(tasks)) for k in range(round(count * _KNOWN / 2))]
    return said + known, _said(Grammar(tasks, rest, calibration), tasks, words, count // 10, rng)


def _said(
    grammar: Grammar, tasks: Sequence[Task], words: Sequence[str], count: int, rng: np.random.Generator
) -> list[Said]:
    drawn: list[Said] = [(grammar.sentence(tasks[k % len(tasks)], rng), k % len(tasks)) for k in range(count // 2)]
    drawn += [(grammar.no_task(rng, words), None) for _ in range(count // 2)]
    return [(text, meaning) for text, meaning in drawn if plain(text) not in _BY_HAND]
