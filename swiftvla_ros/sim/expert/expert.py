# SPDX-License-Identifier: Apache-2.0
"""The scripted demonstrator: does every task from wherever the arm is, smoothly and always in the same way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ruckig import InputParameter, OutputParameter, Ruckig

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.sim.hand import Hand
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.tasks.registry import definition_of
from swiftvla_ros.sim.world import SimWorld

Array = NDArray[np.float64]

TICK_S = 0.02
"""Period of :meth:`Expert.tick`."""
LIMIT_SHARE = 0.5
"""Share of the contract's limits that a demonstration uses: the policy that copies it needs the rest to recover."""


class Expert:
    """Closed-loop demonstrator for one arm.

    It looks at the blocks' true positions, lets the task decide from the commanded hand what to do next, and follows
    jerk-limited joint trajectories (ruckig) that are planned again from the current command whenever the target
    changes. Where blocks stand on stands, it travels above the highest one and goes down to the block's own height.
    """

    def __init__(self, contract: Contract) -> None:
        self._hand = Hand(contract)
        joints = len(contract.joints)
        self._otg = Ruckig(joints, TICK_S)
        self._plan = InputParameter(joints)
        self._next = OutputParameter(joints)
        limits = contract.limits
        self._plan.max_velocity = (limits.max_velocity * LIMIT_SHARE).tolist()
        self._plan.max_acceleration = (limits.max_acceleration * LIMIT_SHARE).tolist()
        self._plan.max_jerk = (limits.max_jerk * LIMIT_SHARE).tolist()
        self._task = Task("pick", COLORS[0])

    def start(
        self, task: Task, command: Array, velocity: Array | None = None, acceleration: Array | None = None
    ) -> None:
        """Begin a task with the arm commanded to ``command`` [J], at rest or in the given motion."""
        still = np.zeros(len(command))
        self._plan.current_position = np.asarray(command).tolist()
        self._plan.current_velocity = (still if velocity is None else velocity).tolist()
        self._plan.current_acceleration = (still if acceleration is None else acceleration).tolist()
        self.change_task(task)

    def change_task(self, task: Task) -> None:
        """Go on with another task, from the motion that is under way."""
        self._task = task
        self._hand.begin()

    def tick(self, world: SimWorld) -> Array:
        """The command [J] for the next :data:`TICK_S`."""
        self._hand.look(world, self._task, np.array(self._plan.current_position))
        arm, gripper = definition_of(self._task.verb).motion(self._hand, world, self._task)
        self._plan.target_position = [*arm.tolist(), gripper]
        self._otg.update(self._plan, self._next)
        self._next.pass_to_input(self._plan)
        return np.array(self._next.new_position)
