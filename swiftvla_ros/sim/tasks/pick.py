# SPDX-License-Identifier: Apache-2.0
"""Pick up a block."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from swiftvla_ros.sim.block_layout import BLOCK_HALF_M
from swiftvla_ros.sim.hand import APPROACH, ASTRAY_M, GRASP, OVER_M, UP, Array, Hand
from swiftvla_ros.sim.language import Task
from swiftvla_ros.sim.tasks.definition import TaskDefinition
from swiftvla_ros.sim.tasks.watcher import TaskWatcher
from swiftvla_ros.sim.world import SimWorld

LIFTED_M = 0.04
LIFT_M = 0.08
DESCEND, CLOSE, LIFT = "descend", "close", "lift"
_DOWN_M = 0.004
_OPEN_ENOUGH = 0.75
_GRIPPED_RAD = 0.1
# How much further open jaws are that hold a wider block: of half its edge.
_WIDER_RAD_PER_M = 28.0
_STALLED_RAD_S = 0.15


class PickWatcher(TaskWatcher):
    """Done when the block was more than 4 cm above where it stood."""

    def achieved(self) -> bool:
        """Whether the block is up."""
        return bool(self.moved[self.asked, 2] > LIFTED_M)


class Pick(TaskDefinition):
    """Grasp the block and lift it."""

    verb = "pick"
    watcher = PickWatcher
    wordings: ClassVar = {
        "": (
            "pick up the {color} block",
            "pick the {color} block up",
            "lift the {color} block",
            "grab the {color} block",
            "take the {color} block",
            "raise the {color} cube",
            "pick up the {color} cube",
            "grasp the {color} block and lift it",
        )
    }
    latest_bump_s = 0.9

    def motion(self, hand: Hand, world: SimWorld, task: Task) -> tuple[Array, float]:  # noqa: ARG002
        """Down with open jaws, grasp, and straight up."""
        return grasp_and_lift(hand)


def is_closed(hand: Hand) -> bool:
    """Whether the gripper was commanded to close."""
    return hand.gripper_command() < hand.closed + 0.02


def gripped_rad(hand: Hand) -> float:
    """Jaws that are less open than this have no block between them."""
    return _GRIPPED_RAD + _WIDER_RAD_PER_M * (hand.half_m - BLOCK_HALF_M)


def holds(hand: Hand) -> bool:
    """Whether something is between the jaws, and the hand where the block is."""
    across, above = hand.offset(hand.block, GRASP)
    return across < ASTRAY_M and abs(above) < ASTRAY_M and hand.opening > gripped_rad(hand)


def grasp_and_lift(hand: Hand) -> tuple[Array, float]:
    """The motion up to where the block is up, from any phase of it."""
    block = hand.block
    across, above = hand.offset(block, GRASP)
    near = across < ASTRAY_M and abs(above) < ASTRAY_M
    if hand.phase == APPROACH:
        # Taken over with the block between closed jaws: it is held already.
        if near and is_closed(hand) and hand.opening > gripped_rad(hand):
            hand.phase = CLOSE
        wide = hand.opening > hand.closed + _OPEN_ENOUGH * (hand.open - hand.closed)
        if across < OVER_M and wide:
            hand.phase = DESCEND
    elif hand.phase == DESCEND:
        if across > ASTRAY_M:
            hand.phase = APPROACH
        elif abs(above) < _DOWN_M:
            hand.phase = CLOSE
    elif not near or (is_closed(hand) and hand.opening < gripped_rad(hand)):
        hand.phase = APPROACH  # missed or dropped
    elif hand.phase == CLOSE and is_closed(hand) and abs(hand.opening_speed) < _STALLED_RAD_S:
        hand.phase = LIFT
        hand.frozen = None
    if hand.phase == APPROACH:
        hand.frozen = None
        if (stay := hand.letting_go()) is not None:
            return stay, hand.open
        return hand.over(block + UP * hand.hover_m(), GRASP), hand.open
    low = np.array([block[0], block[1], hand.support_m + hand.half_m])
    if hand.phase == LIFT:
        if hand.frozen is None:
            # The block sits against the fixed jaw now, so straight up is over the hand, not over the block.
            x, y, _ = hand.position()
            hand.frozen = hand.high(np.array([x, y, hand.support_m + hand.half_m + LIFT_M]), GRASP)
        return hand.frozen, hand.closed
    return hand.still(low, GRASP), hand.closed if hand.phase == CLOSE else hand.open


TASK = Pick()
