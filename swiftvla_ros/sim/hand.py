# SPDX-License-Identifier: Apache-2.0
"""The demonstrator's hand: what a task's motion knows of it, and where it can be sent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract, ContractError
from swiftvla_ros.sim.block_layout import BLOCK_HALF_M
from swiftvla_ros.sim.inverse_kinematics import InverseKinematics, OutOfReachError
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.world import SimWorld

Array = NDArray[np.float64]

APPROACH = "approach"
"""The phase that every motion begins with."""
UP = np.array([0.0, 0.0, 1.0])
GRASP = np.zeros(3)
"""Where blocks are held, in the end effector's frame."""
FINGERTIP = np.array([0.0235, 0.0, 0.011])
"""The closed fingertips in the end effector's frame (so101.urdf: the fixed pad's inner lower edge)."""
OVER_M = 0.015
"""A tool point that is no further away than this, seen from above, is over its target."""
ASTRAY_M = 0.025
"""One that is further away is astray."""
_HOVER_M = 0.06
_SAFE_HEIGHT_M = 0.055
# Points above the blocks are lowered by as many steps as the arm needs, at most.
_LOWER_STEP_M, _LOWER_STEPS = 0.01, 3
_FALLEN_M = 0.005
# A gripper that is less open than the first has nothing between its jaws; one that lacks less than the second to wide
# open holds nothing.
SHUT_RAD, _WIDE_RAD = 0.15, 0.1


class Hand:
    """Looked through once a tick by :meth:`look`; decides nothing.

    Parameters
    ----------
    contract
        The simulated robot's.

    Attributes
    ----------
    phase
        What the hand is doing, in the task's words; :data:`APPROACH` at the beginning.
    frozen
        Arm joints of a target that is kept, or None: a motion that goes to another target forgets it.
    block, half_m, support_m
        Centre [3] of the block that is meant, half its edge, and the height of what bears it, m.
    command, opening, opening_speed
        The commanded joints [J], the measured position and speed of the gripper.
    open, closed
        The gripper's positions.
    """

    def __init__(self, contract: Contract) -> None:
        if contract.gripper is None or contract.chain is None:
            raise ContractError(f"{contract.path}: gripper and kinematics are needed by the demonstrator")
        self._contract, self._chain = contract, contract.chain
        self._kinematics = InverseKinematics(contract)
        self._gripper = contract.joint_names.index(contract.gripper.joint)
        self.open, self.closed = contract.gripper.open, contract.gripper.closed
        self.phase = APPROACH
        self.frozen: Array | None = None
        self._stays: Array | None = None
        self.block, self.command = np.zeros(3), contract.rest
        self.opening = self.opening_speed = 0.0
        self.half_m = BLOCK_HALF_M
        self.support_m = self._highest_m = 0.0

    def begin(self) -> None:
        """Forget the task before."""
        self.phase = APPROACH
        self.frozen = self._stays = None

    def look(self, world: SimWorld, task: Task, command: Array) -> None:
        """See how things are."""
        color = COLORS.index(task.color)
        self.block = world.block_positions()[color]
        self._highest_m = float(world.stands.max())
        self.support_m, self.half_m = float(world.stands[color]), float(world.halves_m[color])
        if self.block[2] < self.support_m + self.half_m - _FALLEN_M:
            self.support_m = 0.0  # it was pushed off its stand
        self.command = command
        self.opening = float(world.state()[self._gripper])
        self.opening_speed = float(world.joint_velocity()[self._gripper])

    def gripper_command(self) -> float:
        """The commanded gripper position."""
        return float(self.command[self._gripper])

    def hover_m(self) -> float:
        """How far above the block's centre to travel: as far as above the highest block of the scene."""
        return _HOVER_M + (self._highest_m - self.support_m)

    def offset(self, target: Array, tool: Array) -> tuple[float, float]:
        """How far the commanded tool point is from the target: across and above, m."""
        pose = self._chain.pose(self.command)
        delta = pose[:3, 3] + pose[:3, :3] @ tool - target
        return float(np.hypot(delta[0], delta[1])), float(delta[2])

    def position(self) -> Array:
        """Where the commanded hand is [3], m."""
        return self._contract.end_effector_position(self.command)

    def among_blocks(self) -> bool:
        """Whether the commanded hand is so low that it could push blocks."""
        return bool(self.position()[2] < _SAFE_HEIGHT_M + self._highest_m)

    def shut(self) -> bool:
        """Whether there is nothing between the jaws, and no room for it."""
        return self.opening < self.closed + SHUT_RAD

    def letting_go(self) -> Array | None:
        """Arm joints to stay at while jaws that have something between them, among the blocks, open; None otherwise.

        Whoever rose meanwhile would lift it.
        """
        if not self.among_blocks() or self.shut() or self.opening > self.open - _WIDE_RAD:
            self._stays = None
        elif self._stays is None:
            self._stays = np.delete(self.command, self._gripper)
        return self._stays

    def over(self, target: Array, tool: Array) -> Array:
        """Arm joints for a target above the blocks; straight up first when the hand is among them."""
        hand = self.position()
        self.frozen = None
        if self.among_blocks() and np.hypot(*(hand[:2] - target[:2])) > ASTRAY_M + 0.025:
            up = np.array([hand[0], hand[1], _SAFE_HEIGHT_M + self._highest_m + 0.03])
            try:
                return self._kinematics.solve(up)
            except OutOfReachError:
                pass  # outside the workspace nothing is in the way
        return self.high(target, tool)

    def high(self, target: Array, tool: Array) -> Array:
        """Arm joints for a target above the blocks, or as far below it as the arm needs."""
        for _ in range(_LOWER_STEPS):
            try:
                return self._kinematics.solve(target, tool)
            except OutOfReachError:  # noqa: PERF203 (a height that fails is why there is another)
                target = target - UP * _LOWER_STEP_M
        return self._kinematics.solve(target, tool)

    def still(self, target: Array, tool: Array) -> Array:
        """Arm joints for a target that is decided once per phase: the hand must not chase the block that it moves."""
        if self.frozen is None:
            self.frozen = self._kinematics.solve(target, tool)
        return self.frozen
