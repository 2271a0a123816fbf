# SPDX-License-Identifier: Apache-2.0
"""Put a block on the plate or into the bowl: a task with a scene of its own."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.sim.backend import mujoco
from swiftvla_ros.sim.block_layout import BLOCK_HALF_M, PAN_AXIS_X_M
from swiftvla_ros.sim.hand import APPROACH, GRASP, Array, Hand
from swiftvla_ros.sim.language import Task
from swiftvla_ros.sim.scene import Scene, SceneSetup
from swiftvla_ros.sim.tasks.definition import TaskDefinition
from swiftvla_ros.sim.tasks.pick import LIFT, LIFT_M, grasp_and_lift, holds
from swiftvla_ros.sim.tasks.watcher import TaskWatcher
from swiftvla_ros.sim.world import SimWorld

# Beside the sector that the blocks lie in, one dish on each side: the hand has room for every block.
_ANGLE_RAD = (1.30, 1.45)
_RADIUS_M = (0.17, 0.22)
_PLATE_RADIUS_M, _PLATE_HALF_M = 0.045, 0.003
_BOWL_SIDES, _BOWL_RADIUS_M, _BOWL_WALL_M, _BOWL_HALF_M, _BOWL_FLOOR_M = 8, 0.04, 0.003, 0.011, 0.002
_FLOOR_M = {"plate": 2 * _PLATE_HALF_M, "bowl": 2 * _BOWL_FLOOR_M}
_WITHIN_M = {"plate": 0.03, "bowl": 0.025}
"""How far from a dish's centre a block's may be to lie in it."""
_RESTING_M = 0.006
# Where the block is let go: just above the plate, and above the bowl's rim, which the jaws must not push.
_RELEASE_M = {"plate": _FLOOR_M["plate"] + BLOCK_HALF_M + 0.003, "bowl": 2 * _BOWL_HALF_M + BLOCK_HALF_M + 0.004}
_OVER_M, _AT_M, _ARRIVED_RAD = 0.006, 0.003, 0.02
_HALF_OPEN = 0.5
_CARRY, _LOWER, _RELEASE, _RETREAT = "carry", "lower", "release", "retreat"


class Tableware(Scene):
    """A plate on one side of the blocks and a bowl on the other."""

    name = "tableware"
    fixtures = ("plate", "bowl")

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add both; eight walls and a floor are the bowl."""
        solid: dict[str, Any] = {"contype": 1, "conaffinity": 1, "friction": [1, 0.01, 0.001]}
        cylinder, box = mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_BOX
        plate, bowl = (spec.worldbody.add_body(name=name) for name in self.fixtures)
        size = [_PLATE_RADIUS_M, _PLATE_HALF_M, 0]
        plate.add_geom(type=cylinder, size=size, pos=[0, 0, _PLATE_HALF_M], rgba=[0.93, 0.93, 0.9, 1], **solid)
        solid |= {"rgba": [0.35, 0.2, 0.4, 1]}
        bowl.add_geom(type=cylinder, size=[_BOWL_RADIUS_M, _BOWL_FLOOR_M, 0], pos=[0, 0, _BOWL_FLOOR_M], **solid)
        half = np.pi / _BOWL_SIDES
        for angle in 2 * half * np.arange(_BOWL_SIDES):
            bowl.add_geom(
                type=box,
                size=[_BOWL_WALL_M, _BOWL_RADIUS_M * np.tan(half), _BOWL_HALF_M],
                pos=[_BOWL_RADIUS_M * np.cos(angle), _BOWL_RADIUS_M * np.sin(angle), _BOWL_HALF_M],
                quat=[np.cos(angle / 2), 0, 0, np.sin(angle / 2)],
                **solid,
            )

    def sample(self, contract: Contract, seed: int) -> SceneSetup:  # noqa: ARG002
        """Which is on which side, and where."""
        rng = np.random.default_rng([seed, 7])
        sides = np.array([1.0, -1.0]) * rng.choice([-1, 1])
        angle, radius = sides * rng.uniform(*_ANGLE_RAD, 2), rng.uniform(*_RADIUS_M, 2)
        xy = np.stack([PAN_AXIS_X_M + radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
        return SceneSetup(fixtures=np.column_stack([xy, rng.uniform(-np.pi, np.pi, 2)]))

    def metadata(self, setup: SceneSetup) -> dict[str, Any]:
        """Where the dishes are."""
        assert setup.fixtures is not None
        return {"fixtures": dict(zip(self.fixtures, setup.fixtures.tolist(), strict=True))}


SCENE = Tableware()


def dish(world: SimWorld, task: Task) -> Array:
    """Where the dish that is meant stands, [2], m."""
    return world.fixtures[SCENE.fixtures.index(task.where), :2]


def lies_in(block: Array, centre: Array, name: str) -> bool:
    """Whether a block at ``block`` [3] rests in the dish ``name`` at ``centre`` [2]."""
    low = block[2] < _FLOOR_M[name] + BLOCK_HALF_M + _RESTING_M
    return bool(low and np.hypot(*(block[:2] - centre)) < _WITHIN_M[name])


class PlaceWatcher(TaskWatcher):
    """Done when the block rests in the dish and the hand has let it go; beside it, it may be picked up again."""

    def achieved(self) -> bool:
        """Whether the block lies where it was asked for, on its own."""
        block = self.world.block_positions()[self.asked]
        held = self.task.color in {contact.color for contact in self.world.contacts()}
        return not held and lies_in(block, dish(self.world, self.task), self.task.where)


class Place(TaskDefinition):
    """Pick a block up, carry it to a dish and let it go."""

    verb = "place"
    watcher = PlaceWatcher
    wordings: ClassVar = {
        "plate": (
            "put the {color} block on the plate",
            "place the {color} block on the plate",
            "set the {color} block down on the plate",
            "move the {color} block onto the plate",
            "lay the {color} block on the plate",
            "put the {color} cube on the plate",
        ),
        "bowl": (
            "put the {color} block into the bowl",
            "place the {color} block in the bowl",
            "drop the {color} block into the bowl",
            "move the {color} block into the bowl",
            "put the {color} block in the bowl",
            "put the {color} cube into the bowl",
        ),
    }
    scene = SCENE
    latest_bump_s = 0.9
    timeout_s = 12.0

    def motion(self, hand: Hand, world: SimWorld, task: Task) -> tuple[Array, float]:
        """Grasp and lift as for picking, carry it over the dish, lower it, let go, and get out of the way."""
        x, y = dish(world, task)
        above = np.array([x, y, BLOCK_HALF_M + LIFT_M])
        release = np.array([x, y, _RELEASE_M[task.where]])
        half_open = hand.closed + _HALF_OPEN * (hand.open - hand.closed)
        inside = lies_in(hand.block, above[:2], task.where)
        if hand.phase == APPROACH and inside and not holds(hand):
            hand.phase = _RETREAT
        elif (hand.phase in (_CARRY, _LOWER) and not holds(hand)) or (
            hand.phase == _RETREAT and self._missed(hand, above, inside)
        ):
            hand.begin()  # dropped, or fell beside
        if hand.phase not in (_CARRY, _LOWER, _RELEASE, _RETREAT):
            arm, gripper = grasp_and_lift(hand)
            if hand.phase != LIFT or np.abs(hand.command[: len(arm)] - arm).max() > _ARRIVED_RAD:
                return arm, gripper
            hand.phase = _CARRY
        if hand.phase == _CARRY and hand.offset(above, GRASP)[0] < _OVER_M:
            hand.phase = _LOWER
        elif hand.phase == _LOWER and abs(hand.offset(release, GRASP)[1]) < _AT_M:
            hand.phase = _RELEASE
        elif hand.phase == _RELEASE and hand.opening > half_open - 0.1:
            hand.phase = _RETREAT
        target = release if hand.phase in (_LOWER, _RELEASE) else above
        return hand.high(target, GRASP), hand.closed if hand.phase in (_CARRY, _LOWER) else half_open

    def _missed(self, hand: Hand, above: Array, inside: bool) -> bool:
        """Whether the hand is up again and the block is not where it should be."""
        return not inside and hand.position()[2] > above[2] - 0.01


TASK = Place()
