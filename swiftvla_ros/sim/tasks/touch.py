# SPDX-License-Identifier: Apache-2.0
"""Touch a block on its top."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from swiftvla_ros.sim.hand import APPROACH, ASTRAY_M, FINGERTIP, OVER_M, SHUT_RAD, UP, Array, Hand
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.tasks.definition import TaskDefinition
from swiftvla_ros.sim.tasks.watcher import TaskWatcher
from swiftvla_ros.sim.world import SimWorld

TOUCH_DRIFT_M = 0.02
"""How far a block may slide and still count as touched."""
_EDGE_M = 0.004
_DESCEND = "descend"


class TouchWatcher(TaskWatcher):
    """Done when the closed gripper was on top of the block, which slid less than 2 cm.

    Another block touched first is the wrong one; one that an earlier task still touches counts only when it is touched
    anew: while the hand leaves it, a block tilts, and the contact slides over its edge and back.
    """

    def __init__(self, world: SimWorld, task: Task) -> None:
        super().__init__(world, task)
        gripper = world.contract.gripper
        if gripper is None:
            raise ValueError(f"{world.contract.path}: gripper: missing; the tasks need one")
        self._gripper = world.contract.joint_names.index(gripper.joint)
        self._closed = gripper.closed + SHUT_RAD
        self._touched = self._touched_now()
        self._not_left = self._contacts()

    def mistaken(self) -> bool:
        """Whether another block was taken or touched."""
        if super().mistaken():
            return True
        self._touched = self._touched_now()
        self._not_left &= self._contacts()
        return bool(self._touched - self._not_left - {self.task.color})

    def achieved(self) -> bool:
        """Whether the hand is on the block, and the block where it was."""
        still = self.shoved()[self.asked] < TOUCH_DRIFT_M and abs(self.moved[self.asked, 2]) < TOUCH_DRIFT_M
        return bool(self.task.color in self._touched and still)

    def _contacts(self) -> set[str]:
        """Colours of the blocks that the hand touches anywhere."""
        return {contact.color for contact in self.world.contacts()}

    def _touched_now(self) -> set[str]:
        """Colours of the blocks that the closed gripper touches on the top."""
        if self.world.state()[self._gripper] > self._closed:
            return set()
        tops = dict(zip(COLORS, self.world.halves_m - _EDGE_M, strict=True))
        return {contact.color for contact in self.world.contacts() if contact.height_m > tops[contact.color]}


class Touch(TaskDefinition):
    """Rest the closed gripper on the block."""

    verb = "touch"
    watcher = TouchWatcher
    wordings: ClassVar = {
        "": (
            "touch the {color} block",
            "tap the {color} block",
            "put your fingertip on the {color} block",
            "touch the top of the {color} block",
            "press on the {color} block",
            "rest the gripper on the {color} block",
            "touch the {color} cube",
            "poke the {color} cube",
        )
    }

    def motion(self, hand: Hand, world: SimWorld, task: Task) -> tuple[Array, float]:  # noqa: ARG002
        """Close the jaws above the block, then straight down on it."""
        top = np.array([hand.block[0], hand.block[1], hand.support_m + 2 * hand.half_m])
        across, _ = hand.offset(top, FINGERTIP)
        if hand.phase == APPROACH and across < OVER_M and hand.shut():
            hand.phase = _DESCEND
        elif hand.phase == _DESCEND and across > ASTRAY_M:
            hand.phase = APPROACH
        if hand.phase == APPROACH:
            if (stay := hand.letting_go()) is not None:
                return stay, hand.open
            # Jaws that an earlier task has around a block close above it.
            around = hand.among_blocks() and not hand.shut()
            high = top + UP * (hand.hover_m() - hand.half_m)
            return hand.over(high, FINGERTIP), hand.open if around else hand.closed
        return hand.still(top, FINGERTIP), hand.closed


TASK = Touch()
