# SPDX-License-Identifier: Apache-2.0
"""Takes a thing and puts it where a task wants it, from what a scene really is and no camera shows.

The hand goes over the thing, down, closes, up, over the place, down and opens. Its controller stops one or two
centimetres short of where it is sent, so what is missing is summed up and added. What slipped is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.sections.hand import HAND_ACTIONS, CartesianHand
from swiftvla_ros.sim.libero.geometry import (
    Grip,
    body_grip,
    corners_in_world,
    hand_pointing_down,
    rim_grip,
    turn_between,
)
from swiftvla_ros.sim.libero.process import OpenScene, SceneMoment

Array = NDArray[np.float64]

TRIES = 3
_GAIN, _TURN_GAIN, _SUM_GAIN, _MOST_SUM_M = 1.6, 1.0, 0.12, 0.03
_OVER_M, _CARRY_M, _NEAR_M, _NEAR_RAD = 0.06, 0.06, 0.012, 0.12
_EDGE_M = 0.03  # a drawer's edge above where a bowl in it is taken
# Fingers take about twelve steps to close, and fewer to let go.
_CLOSE_STEPS, _OPEN_STEPS = 12, 8
_LONGEST = 60  # steps of one phase: what can't be reached is gone on from
_LOST_M = 0.08  # a thing farther from the hand than it was taken was lost


class _Phase(Enum):
    OVER = auto()
    DOWN = auto()
    CLOSE = auto()
    UP = auto()
    CARRY = auto()
    LOWER = auto()
    OPEN = auto()
    AWAY = auto()


_NEXT = dict(zip(_Phase, [*list(_Phase)[1:], _Phase.AWAY], strict=True))
_HOLDS = {_Phase.CLOSE, _Phase.UP, _Phase.CARRY, _Phase.LOWER}


@dataclass
class _Held:
    offset: Array  # of the thing from the hand when it was taken [3], m


class LiberoExpert:
    """Does one scene's task, a step at a time."""

    def __init__(self, scene: OpenScene, hand: CartesianHand) -> None:
        if len(scene.of_interest) < 2:
            raise ValueError(f"a task of {list(scene.of_interest)}: the expert takes one thing to one place")
        self._scene, self._hand = scene, hand
        self.target, place = scene.of_interest[0], scene.of_interest[-1]
        # Some suites name a thing's region: basket_1_contain_region.
        self._place = next((name for name in scene.boxes if place.startswith(f"{name}_")), place)
        self._tries, self._phase, self._steps = 0, _Phase.OVER, 0
        self._grip: Grip | None = None
        self._held: _Held | None = None
        self._missing = np.zeros(3)

    @property
    def tries(self) -> int:
        """How often it closed its fingers."""
        return self._tries

    @property
    def free(self) -> bool:
        """Whether it may be pushed off its way without dropping or missing what it is about."""
        return self._phase in (_Phase.OVER, _Phase.CARRY)

    def looks(self, step: int) -> bool:
        """It never needs a picture."""
        del step
        return False

    def act(self, step: int, moment: SceneMoment) -> Array:
        """The next action [7], in [-1, 1]."""
        del step
        hand = moment.state[:3]
        if self._grip is None:
            self._grip = self._plan(moment)
        goal, reached_m = self._goal(moment)
        turn = turn_between(hand_pointing_down(self._grip.axis), moment.hand)
        self._steps += 1
        apart = goal - hand
        if np.linalg.norm(apart) < 0.04:
            self._missing = np.clip(self._missing + _SUM_GAIN * apart, -_MOST_SUM_M, _MOST_SUM_M)
        action = np.zeros(len(HAND_ACTIONS))
        action[:3] = (_GAIN * apart + self._missing) / self._hand.step_m
        action[3:6] = _TURN_GAIN * turn / self._hand.step_rad
        action[6] = 1.0 if self._phase in _HOLDS else -1.0
        self._advance(moment, float(np.linalg.norm(apart)) < reached_m, float(np.linalg.norm(turn)) < _NEAR_RAD)
        return np.clip(action, -1.0, 1.0)

    def _corners(self, moment: SceneMoment, name: str) -> Array:
        return corners_in_world(self._scene.boxes[name], moment.things[name])

    def _plan(self, moment: SceneMoment) -> Grip:
        corners = self._corners(moment, self.target)
        others = [self._corners(moment, name) for name in self._scene.boxes if name != self.target]
        grip = rim_grip if self.target.startswith("akita_black_bowl") else body_grip
        return grip(corners, np.concatenate(others) if others else np.zeros((0, 8, 3)), moment.hand)

    def _goal(self, moment: SceneMoment) -> tuple[Array, float]:
        """Where the grip site goes in this phase, and how near counts as there."""
        assert self._grip is not None
        point, hand = self._grip.point, moment.state[:3]
        place = self._corners(moment, self._place)
        rim = float(place[..., 2].max())
        flat = (place.reshape(-1, 3).max(0) + place.reshape(-1, 3).min(0))[:2] / 2
        # How far the held thing reaches below the hand, and how far beside it its middle is.
        target = self._corners(moment, self.target).reshape(-1, 3)
        below = max(0.0, float(hand[2] - target[:, 2].min())) if self._held else 0.0
        aside = ((target.max(0) + target.min(0))[:2] / 2 - hand[:2]) if self._held else np.zeros(2)
        # What stood in a drawer or on a cabinet leaves it before it is moved aside.
        carry = max(rim + below, float(point[2]) + _EDGE_M) + _CARRY_M
        if self._phase is _Phase.OVER:
            return np.array([*point[:2], max(point[2] + _OVER_M + 0.04, hand[2] if self._tries else 0.0)]), _NEAR_M
        if self._phase in (_Phase.DOWN, _Phase.CLOSE):
            return point, 0.006
        if self._phase is _Phase.UP:
            return np.array([*point[:2], carry]), 0.015
        if self._phase is _Phase.CARRY:
            return np.array([*(flat - aside), carry]), _NEAR_M
        if self._phase is _Phase.LOWER:
            return np.array([*(flat - aside), rim + below + 0.01]), 0.015
        return (hand if self._phase is _Phase.OPEN else np.array([*hand[:2], rim + 0.12])), 0.03

    def _advance(self, moment: SceneMoment, near: bool, turned: bool) -> None:
        hand, thing = moment.state[:3], moment.things[self.target][:3]
        phase, late = self._phase, self._steps >= _LONGEST
        if phase in (_Phase.CLOSE, _Phase.OPEN):
            done = self._steps >= (_CLOSE_STEPS if phase is _Phase.CLOSE else _OPEN_STEPS)
        else:
            done = near and (turned or phase is not _Phase.OVER)
        if self._held is not None and np.linalg.norm(thing - hand - self._held.offset) > _LOST_M:
            self._again()
            return
        if phase is _Phase.AWAY and (done or late) and not moment.success and self._tries < TRIES:
            self._again()
            return
        if not (done or late):
            return
        if phase is _Phase.OVER:
            # What was put a little too high has come to rest by now.
            self._grip = self._plan(moment)
        elif phase is _Phase.CLOSE:
            self._tries += 1
            self._held = _Held(thing - hand)
        elif phase is _Phase.OPEN:
            self._held = None
        self._phase, self._steps, self._missing = _NEXT[phase], 0, np.zeros(3)

    def _again(self) -> None:
        self._phase, self._steps, self._missing = _Phase.OVER, 0, np.zeros(3)
        self._grip, self._held = None, None
