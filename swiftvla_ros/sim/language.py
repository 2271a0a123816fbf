# SPDX-License-Identifier: Apache-2.0
"""The instructions of the simulated tasks: wordings to say, and the task that a wording means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VERBS = ("pick", "touch")
COLORS = ("red", "green", "blue")

WORDINGS: dict[str, tuple[str, ...]] = {
    "pick": (
        "pick up the {color} block",
        "pick the {color} block up",
        "lift the {color} block",
        "grab the {color} block",
        "take the {color} block",
        "raise the {color} cube",
        "pick up the {color} cube",
        "grasp the {color} block and lift it",
    ),
    "touch": (
        "touch the {color} block",
        "tap the {color} block",
        "put your fingertip on the {color} block",
        "touch the top of the {color} block",
        "press on the {color} block",
        "rest the gripper on the {color} block",
        "touch the {color} cube",
        "poke the {color} cube",
    ),
}
"""Every wording of each verb; the first is the canonical one."""


@dataclass(frozen=True)
class Task:
    """What an instruction asks for: a verb of :data:`VERBS` and a colour of :data:`COLORS`."""

    verb: str
    color: str


TASKS = tuple(Task(verb, color) for verb in VERBS for color in COLORS)


def canonical(task: Task) -> str:
    """The first wording of a task."""
    return WORDINGS[task.verb][0].format(color=task.color)


def phrase(verb: str, color: str, rng: np.random.Generator) -> str:
    """A random wording of a task."""
    wordings = WORDINGS[verb]
    return wordings[int(rng.integers(len(wordings)))].format(color=color)


_MEANINGS = {
    wording.format(color=color): Task(verb, color)
    for verb, wordings in WORDINGS.items()
    for wording in wordings
    for color in COLORS
}


def parse(text: str) -> Task | None:
    """The task that a wording means, or None. Letter case, spacing and a final full stop do not matter."""
    return _MEANINGS.get(" ".join(text.lower().split()).rstrip("."))
