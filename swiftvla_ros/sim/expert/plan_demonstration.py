# SPDX-License-Identifier: Apache-2.0
"""A whole demonstration, thought through in a simulation of its own before the arm moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.sim.block_layout import SceneLayout
from swiftvla_ros.sim.expert.expert import TICK_S, Expert
from swiftvla_ros.sim.inverse_kinematics import OutOfReachError
from swiftvla_ros.sim.language import Task
from swiftvla_ros.sim.scene import TABLE, Scene
from swiftvla_ros.sim.tasks.registry import definition_of, watch
from swiftvla_ros.sim.tasks.watcher import TaskResult
from swiftvla_ros.sim.world import SimWorld

STAY_S = 0.5
"""How long a demonstration goes on after success, with the hand at rest."""


class DemonstrationError(RuntimeError):
    """The demonstrator doesn't manage the task; the message says why."""


@dataclass(frozen=True)
class Demonstration:
    """Commands [n, J] every ``TICK_S``; the first is where the arm is at rest before."""

    positions: NDArray[np.float64]

    @property
    def duration_s(self) -> float:
        """When the last command is reached."""
        return (len(self.positions) - 1) * TICK_S

    def at(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Commands [m, J] at times [m]; before the begin the first, after the end the last."""
        place = np.clip(times_s / TICK_S, 0, len(self.positions) - 1)
        below = np.minimum(place.astype(int), max(0, len(self.positions) - 2))
        above = np.minimum(below + 1, len(self.positions) - 1)
        share = (place - below)[:, None]
        return np.asarray(self.positions[below] * (1 - share) + self.positions[above] * share)


class DemonstrationPlanner:
    """Plans demonstrations; owns a simulation, used again and again."""

    def __init__(self, contract: Contract, scene: Scene = TABLE) -> None:
        self.scene = scene
        self._world = SimWorld(contract, scene=scene)
        self._expert = Expert(contract)

    def close(self) -> None:
        """Free the simulation."""
        self._world.close()

    def plan(self, task: Task, layout: SceneLayout, arm: NDArray[np.float64]) -> Demonstration:
        """The motion that does ``task`` from the arm at rest at ``arm`` [J]; raises :class:`DemonstrationError`."""
        world, expert = self._world, self._expert
        world.reset(0, layout=layout, arm=arm)
        watcher, timeout_s = watch(world, task), definition_of(task.verb).timeout_s
        expert.start(task, world.commanded())
        positions, done_s = [world.commanded()], None
        while done_s is None or world.time_s - done_s < STAY_S:
            try:
                world.command(expert.tick(world))
            except OutOfReachError as error:
                raise DemonstrationError(f"the {task.color} block is out of reach") from error
            positions.append(world.commanded())
            world.advance(TICK_S)
            result = watcher.update(TICK_S)
            if result is TaskResult.WRONG_BLOCK:
                raise DemonstrationError("another block is in the way")
            if result is TaskResult.PENDING and world.time_s > timeout_s:
                raise DemonstrationError(f"not done after {timeout_s:.0f} s")
            if result is TaskResult.DONE and done_s is None:
                done_s = world.time_s
        return Demonstration(np.stack(positions))
