# SPDX-License-Identifier: Apache-2.0
"""Takes a thing and puts it where a task wants it, from what a scene really is and no camera shows.

The hand goes over the thing, down, closes, up, over the place, down and opens. Its controller stops one or two
centimetres short of where it is sent, so what is missing is summed up and added. What slipped is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.sections.hand import HAND_ACTIONS, CartesianHand
from swiftvla_ros.sim.libero.geometry import (
    Grip,
    body_grip,
    corners_in_world,
    hand_pointing_down,
    highest_on_way,
    rim_grip,
    turn_between,
)
from swiftvla_ros.sim.libero.process import OpenScene, SceneMoment

Array = NDArray[np.float64]

TRIES = 3
_GAIN, _TURN_GAIN, _SUM_GAIN, _MOST_SUM_M = 1.6, 1.0, 0.12, 0.03
_OVER_M, _CARRY_M, _NEAR_M, _NEAR_RAD = 0.06, 0.06, 0.012, 0.12
# What is held stays so far beside and above what stands on its way; a way round is taken that spares so much height.
_BESIDE_M, _ABOVE_M, _SPARED_M = 0.015, 0.03, 0.03
_AROUND = np.deg2rad(np.arange(0, 360, 20))
# The Panda's shoulder from where the hand begins, and its wrist from the hand: inwards and up; its reach is 0.72 m.
_SHOULDER_M, _WRIST_M, _REACH_M, _LEAST_OVER_M = np.array([-0.46, 0.0, 0.07]), (0.088, 0.21), 0.68, 0.05
# Fingers take about twelve steps to close, and fewer to let go.
_CLOSE_STEPS, _OPEN_STEPS = 12, 8
_DEEPER_M = 0.006  # a rim that slipped is taken so much lower each time, twice at most
_LONGEST = 60  # steps of one phase: what can't be reached is gone on from
_LOST_M = 0.08  # a thing farther from the hand than it was taken was lost


class _Phase(Enum):
    OVER = auto()
    DOWN = auto()
    CLOSE = auto()
    UP = auto()
    ROUND = auto()
    CARRY = auto()
    LOWER = auto()
    OPEN = auto()
    AWAY = auto()


_NEXT = dict(zip(_Phase, [*list(_Phase)[1:], _Phase.AWAY], strict=True))
_HOLDS = {_Phase.CLOSE, _Phase.UP, _Phase.ROUND, _Phase.CARRY, _Phase.LOWER}


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
        self._start = np.zeros(0)  # where the hand was at first [3]
        self._via: Array | None = None  # where what is held goes by (x, y)

    @property
    def tries(self) -> int:
        """How often it closed its fingers."""
        return self._tries

    @property
    def free(self) -> bool:
        """Whether it may be pushed off its way without dropping or missing what it is about."""
        return self._phase in (_Phase.OVER, _Phase.ROUND, _Phase.CARRY)

    def looks(self, step: int) -> bool:
        """It never needs a picture."""
        del step
        return False

    def act(self, step: int, moment: SceneMoment) -> Array:
        """The next action [7], in [-1, 1]."""
        del step
        hand = moment.state[:3]
        if not len(self._start):
            self._start = hand.copy()
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

    def _others(self, moment: SceneMoment, *but: str) -> Array:
        return np.concatenate(
            [np.zeros((0, 8, 3)), *(self._corners(moment, n) for n in self._scene.boxes if n not in but)]
        )

    def _plan(self, moment: SceneMoment) -> Grip:
        corners = self._corners(moment, self.target)
        others = self._others(moment, self.target)
        if self.target.startswith("akita_black_bowl"):
            grip = rim_grip(corners, others, moment.hand, (self._start + _SHOULDER_M)[:2])
            return replace(grip, point=grip.point - [0.0, 0.0, _DEEPER_M * min(self._tries, 2)])
        return body_grip(corners, others, moment.hand)

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
        carry = rim + below + _CARRY_M
        if self._held:
            # Also out of the drawer that it stood in.
            to = flat - aside if self._via is None or self._phase is _Phase.CARRY else self._via
            others = self._others(moment, self.target, self._place)
            carry = max(carry, highest_on_way(self._outline(moment), to - hand[:2], others) + below + _ABOVE_M)
            carry = min(carry, max(self._highest(hand), float(point[2]) + _LEAST_OVER_M))
        if self._phase is _Phase.OVER:
            over = max(point[2] + _OVER_M + 0.04, hand[2] if self._tries else 0.0)
            return np.array([*point[:2], max(min(over, self._highest(point)), point[2] + _LEAST_OVER_M)]), _NEAR_M
        if self._phase in (_Phase.DOWN, _Phase.CLOSE):
            return point, 0.006
        if self._phase is _Phase.UP:
            return np.array([*point[:2], carry]), 0.015
        if self._phase is _Phase.ROUND:
            return np.array([*(hand[:2] if self._via is None else self._via), carry]), 0.03
        if self._phase is _Phase.CARRY:
            return np.array([*(flat - aside), carry]), _NEAR_M
        if self._phase is _Phase.LOWER:
            return np.array([*(flat - aside), rim + below + 0.01]), 0.015
        return (hand if self._phase is _Phase.OPEN else np.array([*hand[:2], rim + 0.12])), 0.03

    def _outline(self, moment: SceneMoment) -> Array:
        """Around the held thing [p, 2] (x, y), and a little more."""
        held = self._corners(moment, self.target).reshape(-1, 3)[:, :2]
        middle = (held.max(0) + held.min(0)) / 2
        round_ = middle + np.ptp(held, axis=0) / 2 * np.stack([np.cos(_AROUND), np.sin(_AROUND)], axis=1)
        return np.concatenate([middle[None], round_ + _BESIDE_M * np.sign(round_ - middle)])

    def _way_round(self, moment: SceneMoment) -> Array | None:
        """Where the hand began, if what is held need not be lifted as high on the way by there: far out it can't be."""
        outline, others = self._outline(moment), self._others(moment, self.target, self._place)
        ends = self._corners(moment, self._place).reshape(-1, 3)[:, :2]
        move, first = (ends.max(0) + ends.min(0)) / 2 - outline[0], self._start[:2] - moment.state[:2]
        by_there = max(highest_on_way(outline, first, others), highest_on_way(outline + first, move - first, others))
        return self._start[:2] if by_there + _SPARED_M < highest_on_way(outline, move, others) else None

    def _highest(self, hand: Array) -> float:
        """As high as the arm reaches without being stretched, from where its elbow may bend the wrong way."""
        shoulder = self._start + _SHOULDER_M
        out_m = float(np.linalg.norm(hand[:2] - shoulder[:2])) - _WRIST_M[0]
        return float(shoulder[2] - _WRIST_M[1] + np.sqrt(max(0.0, _REACH_M**2 - out_m**2)))

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
            self._via = self._way_round(moment)
        elif phase is _Phase.OPEN:
            self._held = None
        self._phase, self._steps, self._missing = _NEXT[phase], 0, np.zeros(3)

    def _again(self) -> None:
        self._phase, self._steps, self._missing = _Phase.OVER, 0, np.zeros(3)
        self._grip, self._held = None, None
