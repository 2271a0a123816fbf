# SPDX-License-Identifier: Apache-2.0
"""A whole demonstration, thought through in a simulation of its own before the arm moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.sim.block_layout import Layout
from swiftvla_ros.sim.expert.expert import TICK_S, Expert
from swiftvla_ros.sim.expert.inverse_kinematics import OutOfReachError
from swiftvla_ros.sim.language import Task
from swiftvla_ros.sim.tasks.watcher import TaskWatcher, Verdict
from swiftvla_ros.sim.world import SimWorld

STAY_S = 0.5
"""How long a demonstration goes on after success, with the hand at rest."""
TIMEOUT_S = 8.0


class RehearsalError(RuntimeError):
    """The demonstrator doesn't manage the task; the message says why."""


@dataclass(frozen=True)
class Motion:
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


class Rehearsal:
    """Plans demonstrations; owns a simulation, used again and again."""

    def __init__(self, contract: Contract) -> None:
        self._world = SimWorld(contract)
        self._expert = Expert(contract)

    def close(self) -> None:
        """Free the simulation."""
        self._world.close()

    def plan(self, task: Task, layout: Layout, arm: NDArray[np.float64]) -> Motion:
        """Return the motion that does ``task`` from the arm at rest at ``arm`` [J]; raises :class:`RehearsalError`."""
        world, expert = self._world, self._expert
        world.reset(0, layout=layout, arm=arm)
        watcher = TaskWatcher(world, task)
        expert.start(task, world.commanded())
        positions, done_s = [world.commanded()], None
        while done_s is None or world.time_s - done_s < STAY_S:
            try:
                world.command(expert.tick(world))
            except OutOfReachError as error:
                raise RehearsalError(f"the {task.color} block is out of reach") from error
            positions.append(world.commanded())
            world.advance(TICK_S)
            verdict = watcher.update(TICK_S)
            if verdict is Verdict.WRONG_BLOCK:
                raise RehearsalError("another block is in the way")
            if verdict is Verdict.PENDING and world.time_s > TIMEOUT_S:
                raise RehearsalError(f"not done after {TIMEOUT_S:.0f} s")
            if verdict is Verdict.DONE and done_s is None:
                done_s = world.time_s
        return Motion(np.stack(positions))
