# SPDX-License-Identifier: Apache-2.0
"""The expert, in a world of boxes that follow the hand; without LIBERO."""

from dataclasses import replace

import numpy as np
import pytest

from swiftvla_ros.contract.sections.hand import CartesianHand
from swiftvla_ros.sim.libero.expert import TRIES, LiberoExpert
from swiftvla_ros.sim.libero.geometry import (
    body_grip,
    hand_pointing_down,
    highest_on_way,
    rim_grip,
    rotation,
    turn_between,
)
from swiftvla_ros.sim.libero.process import OpenScene, SceneMoment

HAND = CartesianHand(step_m=0.05, step_rad=0.5)
START = np.array([-0.15, 0.0, 0.26])
SHOULDER = np.array([-0.6, 0.0])
BASKET = np.array([0.0, 0.26, 0.08])


def box(half: tuple[float, float, float]) -> np.ndarray:
    """The corners [1, 8, 3] of a box around its frame."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    return (signs * half)[None]


def pose(position: np.ndarray) -> np.ndarray:
    """Upright."""
    return np.array([*position, 1.0, 0.0, 0.0, 0.0])


class Toy:
    """A hand that goes where it is sent, a little short of it, and what it holds."""

    def __init__(self, thing: np.ndarray, half: tuple[float, float, float], slips: int = 0) -> None:
        self.scene = OpenScene("pick it", 1, ("thing", "basket"), {"thing": box(half), "basket": box((0.08,) * 3)})
        self.hand, self.thing, self.slips, self._closed = START.copy(), thing.copy(), slips, 0
        self._turned = hand_pointing_down(np.array([0.0, 1.0, 0.0]))
        self._held: np.ndarray | None = None
        self.standing: dict[str, np.ndarray] = {}

    def moment(self) -> SceneMoment:
        """What is so now."""
        inside = np.abs(self.thing - BASKET).max() < 0.1 and self._held is None
        state = np.array([*self.hand, np.pi, 0, 0, 0.04, -0.04])
        things = {"thing": pose(self.thing), "basket": pose(BASKET), **self.standing}
        return SceneMoment(bool(inside), state, self._turned, things, {})

    def step(self, action: np.ndarray) -> SceneMoment:
        """Move; fingers that were closed for long enough around the thing hold it."""
        assert np.abs(action).max() <= 1.0
        # What a controller without an integral term leaves.
        self.hand = self.hand + 0.4 * np.where(np.abs(action[:3]) > 0.1, action[:3], 0.0) * 0.05
        angle = float(np.linalg.norm(action[3:6])) * 0.5
        if angle > 1e-9:
            x, y, z = np.sin(angle / 2) * action[3:6] / np.linalg.norm(action[3:6])
            self._turned = rotation(np.array([np.cos(angle / 2), x, y, z])) @ self._turned
        self._closed = self._closed + 1 if action[6] > 0 else 0
        if self._closed == 12 and np.linalg.norm((self.hand - self.thing)[:2]) < 0.02:
            self._held = self.thing - self.hand
        if self._held is not None and (action[6] < 0 or (self.slips and self.hand[2] > 0.2)):
            self.slips -= self.slips > 0 and action[6] > 0
            self._held, self.thing[2] = None, 0.05
        if self._held is not None:
            self.thing = self.hand + self._held
        return self.moment()


@pytest.mark.parametrize(("slips", "place"), [(0, "basket"), (1, "basket"), (0, "basket_contain_region")])
@pytest.mark.parametrize(("x", "y"), [(-0.2, -0.1), (0.15, 0.0), (0.1, -0.25)])
def test_it_brings_what_is_asked_for(x: float, y: float, slips: int, place: str) -> None:
    """Protects demonstrations: it is done in time, also when the thing was lost on the way and is taken again.

    Where it goes is a thing, or a region of one.
    """
    toy = Toy(np.array([x, y, 0.05]), (0.03, 0.02, 0.05), slips)
    expert, moment = LiberoExpert(replace(toy.scene, of_interest=("thing", place)), HAND), toy.moment()
    for step in range(280):
        moment = toy.step(expert.act(step, moment))
        if moment.success:
            break
    assert moment.success
    assert expert.tries == 1 + slips <= TRIES
    assert not expert.looks(0)


@pytest.mark.parametrize(("middle", "half"), [((0.05, 0.0), (0.3, 0.02)), ((0.12, 0.0), (0.08, 0.02))])
def test_what_is_held_meets_nothing_on_its_way(middle: tuple[float, float], half: tuple[float, float]) -> None:
    """Protects what stands around: a wall is passed above, or round its end, by where the hand began."""
    toy = Toy(np.array([0.1, -0.2, 0.05]), (0.03, 0.02, 0.05))
    wall = box((*half, 0.12)) + np.array([*middle, 0.12])
    toy.scene = replace(toy.scene, boxes={**toy.scene.boxes, "wall": wall})
    toy.standing = {"wall": pose(np.zeros(3))}
    expert, moment, highest = LiberoExpert(toy.scene, HAND), toy.moment(), 0.0
    for step in range(280):
        moment = toy.step(expert.act(step, moment))
        highest = max(highest, toy.thing[2])
        reaches = np.abs(toy.thing[:2] - middle) < np.add(half, (0.03, 0.02))
        assert not reaches.all() or toy.thing[2] > 0.24 + 0.05
        if moment.success:
            break
    assert moment.success
    assert (highest > 0.29) == (half[0] > 0.1)


def test_the_top_of_what_is_met_is_told() -> None:
    """Protects that height: what stands on the way counts, turned boxes as they stand, and what stands beside not."""
    tall, point = box((0.02, 0.1, 0.1)) + np.array([0.2, 0.0, 0.1]), np.zeros((1, 2))
    assert highest_on_way(point, np.array([0.4, 0.0]), tall) == pytest.approx(0.2)
    assert highest_on_way(point, np.array([0.1, 0.0]), tall) == -np.inf
    turned = tall @ rotation(np.array([np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)])).T
    assert highest_on_way(point, np.array([0.4, 0.0]), turned) == -np.inf
    assert highest_on_way(point, np.array([0.0, 0.4]), turned) == pytest.approx(0.2)
    assert highest_on_way(point, np.array([0.4, 0.0]), np.zeros((0, 8, 3))) == -np.inf


def test_of_a_far_bowl_the_nearer_rim_is_taken() -> None:
    """Protects the arm, whose elbow may bend the wrong way where it is stretched."""
    hand = hand_pointing_down(np.array([0.0, 1.0, 0.0]))
    sides = [np.array([*(0.05 * out), 0.025]) for out in np.array([[0, 1], [0, -1], [1, 0], [-1, 0]])]
    rim = np.concatenate([box((0.002, 0.002, 0.025)) + side for side in sides])
    assert abs(rim_grip(rim, np.zeros((0, 8, 3)), hand, np.array([-0.7, 0.0])).axis[1]) > 0.9
    assert rim_grip(rim, np.zeros((0, 8, 3)), hand, np.array([-0.79, 0.0])).point[0] < -0.03


def test_fingers_close_across_the_narrow_side() -> None:
    """Protects the grip: what is wider than the hand opens is taken the other way, and neighbours are left alone."""
    hand = hand_pointing_down(np.array([0.0, 1.0, 0.0]))
    flat = box((0.02, 0.06, 0.02)) + np.array([0.1, 0.0, 0.02])
    alone = body_grip(flat, np.zeros((0, 8, 3)), hand)
    assert abs(alone.axis[0]) > 0.9
    assert alone.width_m < 0.06
    np.testing.assert_allclose(alone.point[:2], [0.1, 0.0], atol=1e-9)
    small = box((0.02, 0.02, 0.05)) + np.array([0.1, 0.0, 0.05])
    assert abs(body_grip(small, np.zeros((0, 8, 3)), hand).axis[1]) > 0.9
    beside = box((0.02, 0.02, 0.05)) + np.array([0.1, 0.055, 0.05])
    assert abs(body_grip(small, beside, hand).axis[1]) < 0.9
    # The palm is 4.5 cm above the grip site: a tall thing is not taken lower than that below its top.
    assert body_grip(small, np.zeros((0, 8, 3)), hand).point[2] > 0.1 - 0.045


def test_a_rim_is_taken_where_fingers_and_palm_have_room() -> None:
    """Protects drawers: the grip goes around the bowl where a finger or the palm would land on something."""
    hand = hand_pointing_down(np.array([0.0, 1.0, 0.0]))
    rim = np.concatenate([box((0.05, 0.002, 0.025)) + np.array([0, end * 0.05, 0.025]) for end in (-1, 1)])
    alone = rim_grip(rim, np.zeros((0, 8, 3)), hand, SHOULDER)
    np.testing.assert_allclose(alone.point, [0.0, 0.044, 0.025], atol=1e-9)
    walls = np.concatenate([box((0.2, 0.01, 0.03)) + np.array([0, end * 0.08, 0.03]) for end in (-1, 1)])
    beside = rim_grip(rim, walls, hand, SHOULDER)
    assert abs(beside.axis[0]) > 0.7
    # Thin, and above: the fingers would pass below, the palm would not.
    lid = box((0.2, 0.04, 0.0015)) + np.array([0.0, 0.12, 0.08])
    assert rim_grip(rim, lid, hand, SHOULDER).point[1] < 0.0
    assert rim_grip(rim, lid + np.array([0.0, 0.0, 0.2]), hand, SHOULDER).point[1] > 0.0


def test_turns_are_the_short_way() -> None:
    """Protects the wrist: a turn is axis times angle in the world, and nothing where nothing is to turn."""
    quarter = rotation(np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)]))
    np.testing.assert_allclose(turn_between(quarter, np.eye(3)), [0, 0, np.pi / 2], atol=1e-9)
    np.testing.assert_allclose(turn_between(quarter, quarter), 0, atol=1e-9)


def test_a_task_without_a_place_is_refused() -> None:
    """Protects from a drawer that nobody opens: the expert says what it can't do."""
    scene = replace(Toy(np.zeros(3), (0.02,) * 3).scene, of_interest=("drawer",))
    with pytest.raises(ValueError, match="takes one thing to one place"):
        LiberoExpert(scene, HAND)
