# SPDX-License-Identifier: Apache-2.0
"""What a task of the simulator consists of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from swiftvla_ros.sim.hand import Array, Hand
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.scene import Scene
from swiftvla_ros.sim.tasks.watcher import TaskWatcher
from swiftvla_ros.sim.world import SimWorld


class TaskDefinition(ABC):
    """A verb: how it is said, when it is done, and how it is done."""

    verb: str  # its name
    # What is said, with `{color}` in it, by the place that is meant (`""` for none). The first is the canonical one.
    wordings: ClassVar[Mapping[str, tuple[str, ...]]]
    watcher: ClassVar[type[TaskWatcher]]  # watches from the moment it is made whether it is done
    scene: Scene | None = None  # the only scene that has what the task needs; None: any will do
    # Until when a demonstration may be pushed aside: later, the hand already holds or presses.
    latest_bump_s: float = 0.6
    timeout_s: float = 8.0  # a demonstration that isn't done by then has failed

    def tasks(self) -> tuple[Task, ...]:
        """Everything that it can be asked for."""
        return tuple(Task(self.verb, color, where) for where in self.wordings for color in COLORS)

    @abstractmethod
    def motion(self, hand: Hand, world: SimWorld, task: Task) -> tuple[Array, float]:
        """Advance the hand's phase, and tell its target: arm joints and gripper."""
