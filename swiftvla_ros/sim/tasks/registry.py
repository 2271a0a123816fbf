# SPDX-License-Identifier: Apache-2.0
"""Every task and scene of this folder, by name.

A module that defines ``TASK`` (a ``TaskDefinition``) or ``SCENE`` (a ``Scene``) is found by itself: a new task is a new
file.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Collection, Iterable
from importlib import import_module

import numpy as np

from swiftvla_ros.errors import UserError
from swiftvla_ros.sim import tasks
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.scene import TABLE, Scene
from swiftvla_ros.sim.tasks.definition import TaskDefinition
from swiftvla_ros.sim.tasks.watcher import TaskWatcher
from swiftvla_ros.sim.world import SimWorld

STANDARD_VERBS = ("pick", "touch")
"""The tasks of a collection or an evaluation that names none: what the shipped checkpoint was trained on.

Not all there are, or another file in this folder would change every seed's episodes.
"""


class UnknownTaskError(UserError, ValueError):
    """No such task or scene, or the scene hasn't what the task needs; the message names those that there are."""


def _found() -> tuple[dict[str, TaskDefinition], dict[str, Scene]]:
    names = [info.name for info in pkgutil.iter_modules(tasks.__path__)]
    modules = [import_module(f"{tasks.__name__}.{name}") for name in sorted(names) if name != "registry"]
    parts = [part for module in modules for part in (getattr(module, "TASK", None), getattr(module, "SCENE", None))]
    definitions = {part.verb: part for part in parts if isinstance(part, TaskDefinition)}
    return definitions, {part.name: part for part in (TABLE, *parts) if isinstance(part, Scene)}


DEFINITIONS, SCENES = _found()
_MEANINGS = {
    wording.format(color=color): Task(definition.verb, color, where)
    for definition in DEFINITIONS.values()
    for where, wordings in definition.wordings.items()
    for wording in wordings
    for color in COLORS
}


def definition_of(verb: str) -> TaskDefinition:
    """The task of a verb."""
    if verb not in DEFINITIONS:
        raise UnknownTaskError(f"task '{verb}': there are {', '.join(DEFINITIONS)}")
    return DEFINITIONS[verb]


def tasks_of(verbs: Iterable[str]) -> tuple[Task, ...]:
    """Everything that verbs can ask for, in the order in which it is asked in turn."""
    return tuple(task for verb in verbs for task in definition_of(verb).tasks())


STANDARD_TASKS = tasks_of(STANDARD_VERBS)


def scene_for(verbs: Collection[str], name: str | None = None) -> Scene:
    """The scene that has what all of some tasks need, or the named one, if it has."""
    if name is not None and name not in SCENES:
        raise UnknownTaskError(f"scene '{name}': there are {', '.join(SCENES)}")
    needed = {definition.scene for definition in map(definition_of, verbs) if definition.scene is not None}
    scenes = needed | ({SCENES[name]} if name is not None else set())
    if len(scenes) > 1:
        names = " and ".join(sorted(scene.name for scene in scenes))
        raise UnknownTaskError(f"tasks {', '.join(verbs)}: they would need scenes {names} at once")
    return scenes.pop() if scenes else TABLE


def parse(text: str, scene: Scene | None = None) -> Task | None:
    """The task that a wording means, or None: also where the given scene hasn't what it needs.

    Letter case, spacing and a final full stop do not matter.
    """
    task = _MEANINGS.get(" ".join(text.lower().split()).rstrip("."))
    if task is None or scene is None or definition_of(task.verb).scene in (None, scene):
        return task
    return None


def canonical(task: Task) -> str:
    """The first wording of a task."""
    return definition_of(task.verb).wordings[task.where][0].format(color=task.color)


def phrase(task: Task, rng: np.random.Generator) -> str:
    """A random wording of a task."""
    wordings = definition_of(task.verb).wordings[task.where]
    return wordings[int(rng.integers(len(wordings)))].format(color=task.color)


def examples(scene: Scene | None = None) -> str:
    """What can be said in a scene (or at all), for a message: one wording of each task."""
    known = [d for d in DEFINITIONS.values() if scene is None or d.scene in (None, scene)]
    return ", ".join(f"'{canonical(task)}'" for definition in known for task in definition.tasks()[:: len(COLORS)])


def watch(world: SimWorld, task: Task) -> TaskWatcher:
    """Watch a task from now on."""
    return definition_of(task.verb).watcher(world, task)
