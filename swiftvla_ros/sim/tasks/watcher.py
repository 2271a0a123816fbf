# SPDX-License-Identifier: Apache-2.0
"""Was the instruction carried out? A watcher sees the simulation's true state."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.world import SimWorld

HELD_S = 0.3
WRONG_LIFT_M = 0.02
WRONG_SHOVE_M = 0.03


class TaskResult(enum.Enum):
    """What became of a task."""

    PENDING = 0
    DONE = 1
    WRONG_BLOCK = 2


class TaskWatcher(ABC):
    """Watches one task from the moment it is made.

    A task is done when what it asks for has been so for 0.3 s. Another block lifted or dropped by 2 cm, or shoved by 3
    cm, is the wrong block. A result is final. ``moved`` [3, 3], m, is how far each block is from where it was at the
    beginning; ``asked`` the index of the block that is meant.
    """

    def __init__(self, world: SimWorld, task: Task) -> None:
        self.world, self.task = world, task
        self.asked = COLORS.index(task.color)
        self.moved: NDArray[np.float64] = np.zeros((len(COLORS), 3))
        self.result = TaskResult.PENDING
        self._start = world.block_positions()
        self._held_s = 0.0

    @abstractmethod
    def achieved(self) -> bool:
        """Whether what was asked for is so now."""

    def mistaken(self) -> bool:
        """Whether another block was taken."""
        others = np.arange(len(COLORS)) != self.asked
        return bool(
            (np.abs(self.moved[others, 2]) > WRONG_LIFT_M).any() or (self.shoved()[others] > WRONG_SHOVE_M).any()
        )

    def shoved(self) -> NDArray[np.float64]:
        """How far each block is from where it was, seen from above, [3], m."""
        return np.hypot(self.moved[:, 0], self.moved[:, 1])

    def update(self, dt_s: float) -> TaskResult:
        """Look at the world, ``dt_s`` seconds after the last look (about 20 ms)."""
        if self.result is not TaskResult.PENDING:
            return self.result
        self.moved = self.world.block_positions() - self._start
        if self.mistaken():
            self.result = TaskResult.WRONG_BLOCK
            return self.result
        self._held_s = self._held_s + dt_s if self.achieved() else 0.0
        if self._held_s >= HELD_S - 1e-9:
            self.result = TaskResult.DONE
        return self.result
