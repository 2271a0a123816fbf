# SPDX-License-Identifier: Apache-2.0
"""Was the instruction carried out? A watcher that sees the simulation's true state."""

from __future__ import annotations

import enum

import numpy as np

from swiftvla_ros.sim.block_layout import BLOCK_HALF_M
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.world import SimWorld

LIFTED_M = 0.04
HELD_S = 0.3
WRONG_LIFT_M = 0.02
WRONG_SHOVE_M = 0.03
TOUCH_DRIFT_M = 0.02
"""How far a block may slide and still count as touched."""
_TOP_M = BLOCK_HALF_M - 0.004
_CLOSED_SLACK_RAD = 0.15


class Verdict(enum.Enum):
    """What became of a task."""

    PENDING = 0
    DONE = 1
    WRONG_BLOCK = 2


class TaskWatcher:
    """Watches one task from the moment it is made.

    Picking is done when the commanded block was more than 4 cm above where it stood for 0.3 s. Touching is done when
    the closed gripper was on top of the commanded block for 0.3 s, the block having slid less than 2 cm. Another block
    lifted or dropped by 2 cm, shoved by 3 cm or, when touching, touched first, is the wrong block; one that an earlier
    task still touches counts only when it is touched anew. A verdict is final.

    Parameters
    ----------
    world
        The simulation; block positions now are the ones that shoves are measured from.
    task
        What was asked for.
    """

    def __init__(self, world: SimWorld, task: Task) -> None:
        gripper = world.contract.gripper
        if gripper is None:
            raise ValueError(f"{world.contract.path}: gripper: missing; the tasks need one")
        self.task = task
        self._world = world
        self._gripper = world.contract.joint_names.index(gripper.joint)
        self._closed = gripper.closed + _CLOSED_SLACK_RAD
        self._start = world.block_positions()
        self._asked = COLORS.index(task.color)
        self._held_s = 0.0
        self.verdict = Verdict.PENDING
        self._touched_before = self._touched()

    def update(self, dt_s: float) -> Verdict:
        """Look at the world, ``dt_s`` seconds after the last look (about 20 ms)."""
        if self.verdict is not Verdict.PENDING:
            return self.verdict
        moved = self._world.block_positions() - self._start
        lift, shove = moved[:, 2], np.hypot(moved[:, 0], moved[:, 1])
        others = np.arange(len(COLORS)) != self._asked
        if (np.abs(lift[others]) > WRONG_LIFT_M).any() or (shove[others] > WRONG_SHOVE_M).any():
            self.verdict = Verdict.WRONG_BLOCK
            return self.verdict
        if self.task.verb == "pick":
            achieved = lift[self._asked] > LIFTED_M
        else:
            touched = self._touched()
            self._touched_before &= touched
            if touched - self._touched_before - {self.task.color}:
                self.verdict = Verdict.WRONG_BLOCK
                return self.verdict
            still = shove[self._asked] < TOUCH_DRIFT_M and abs(lift[self._asked]) < TOUCH_DRIFT_M
            achieved = self.task.color in touched and still
        self._held_s = self._held_s + dt_s if achieved else 0.0
        if self._held_s >= HELD_S - 1e-9:
            self.verdict = Verdict.DONE
        return self.verdict

    def _touched(self) -> set[str]:
        """Colours of the blocks that the closed gripper touches on the top."""
        if self._world.state()[self._gripper] > self._closed:
            return set()
        return {contact.color for contact in self._world.contacts() if contact.height_m > _TOP_M}
