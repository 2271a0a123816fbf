# SPDX-License-Identifier: Apache-2.0
"""The scripted demonstrator: does both tasks from wherever the arm is, smoothly and always in the same way."""

from __future__ import annotations

import enum

import numpy as np
from numpy.typing import NDArray
from ruckig import InputParameter, OutputParameter, Ruckig

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.sim.block_layout import BLOCK_HALF_M
from swiftvla_ros.sim.expert.inverse_kinematics import OutOfReachError, Reach
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.world import SimWorld

Array = NDArray[np.float64]

TICK_S = 0.02
"""Period of :meth:`Expert.tick`."""
LIMIT_SHARE = 0.5
"""Share of the contract's limits that a demonstration uses: the policy that copies it needs the rest to recover."""
HOVER_M = 0.06
LIFT_M = 0.08
# The closed fingertips in the end effector's frame (so101.urdf: the fixed pad's inner lower edge).
_FINGERTIP = np.array([0.0235, 0.0, 0.011])
_GRASP = np.zeros(3)
_UP = np.array([0.0, 0.0, 1.0])
_OVER_M = 0.015
_ASTRAY_M = 0.025
_DOWN_M = 0.004
_SAFE_HEIGHT_M = 0.055
# Points above the blocks are lowered by as many steps as the arm needs, at most.
_LOWER_STEP_M, _LOWER_STEPS = 0.01, 3
_FALLEN_M = 0.005
_OPEN_ENOUGH = 0.75
_GRIPPED_RAD = 0.1
_STALLED_RAD_S = 0.15


class Phase(enum.Enum):
    """What the hand is doing."""

    APPROACH = "approach"
    DESCEND = "descend"
    CLOSE = "close"
    LIFT = "lift"


class Expert:
    """Closed-loop demonstrator for one arm.

    It looks at the blocks' true positions, decides from the commanded hand what to do next, and follows jerk-limited
    joint trajectories (ruckig) that are planned again from the current command whenever the target changes. Where
    blocks stand on stands, it travels above the highest one and goes down to the block's own height.

    Parameters
    ----------
    contract
        The simulated robot's.
    """

    def __init__(self, contract: Contract) -> None:
        if contract.gripper is None or contract.chain is None:
            raise ValueError(f"{contract.path}: gripper and kinematics are needed by the demonstrator")
        self._contract = contract
        self._reach = Reach(contract)
        self._gripper = contract.joint_names.index(contract.gripper.joint)
        self._open, self._closed = contract.gripper.open, contract.gripper.closed
        joints = len(contract.joints)
        self._otg = Ruckig(joints, TICK_S)
        self._plan = InputParameter(joints)
        self._next = OutputParameter(joints)
        limits = contract.limits
        self._plan.max_velocity = (limits.max_velocity * LIMIT_SHARE).tolist()
        self._plan.max_acceleration = (limits.max_acceleration * LIMIT_SHARE).tolist()
        self._plan.max_jerk = (limits.max_jerk * LIMIT_SHARE).tolist()
        self.phase = Phase.APPROACH
        self._task = Task("pick", COLORS[0])
        self._frozen: Array | None = None
        self._support_m = self._highest_m = 0.0

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
        self.phase = Phase.APPROACH
        self._frozen = None

    def tick(self, world: SimWorld) -> Array:
        """The command [J] for the next :data:`TICK_S`."""
        arm, gripper = self._decide(world)
        self._plan.target_position = [*arm.tolist(), gripper]
        self._otg.update(self._plan, self._next)
        self._next.pass_to_input(self._plan)
        return np.array(self._next.new_position)

    def _decide(self, world: SimWorld) -> tuple[Array, float]:
        """Advance the phase and return its target: arm joints and gripper."""
        color = COLORS.index(self._task.color)
        block = world.block_positions()[color]
        self._highest_m = float(world.stands.max())
        self._support_m = float(world.stands[color])
        if block[2] < self._support_m + BLOCK_HALF_M - _FALLEN_M:
            self._support_m = 0.0  # it was pushed off its stand
        command = np.array(self._plan.current_position)
        measured = world.state()
        if self._task.verb == "touch":
            return self._touch(block, command), self._closed
        return self._pick(block, command, measured[self._gripper], world.joint_velocity()[self._gripper])

    def _touch(self, block: Array, command: Array) -> Array:
        top = np.array([block[0], block[1], self._support_m + 2 * BLOCK_HALF_M])
        across, _ = self._offset(command, top, _FINGERTIP)
        closing = command[self._gripper] < self._closed + 0.1
        if self.phase is Phase.APPROACH and across < _OVER_M and closing:
            self.phase = Phase.DESCEND
        elif self.phase is Phase.DESCEND and across > _ASTRAY_M:
            self.phase = Phase.APPROACH
        if self.phase is Phase.APPROACH:
            return self._over(top + _UP * (self._hover_m() - BLOCK_HALF_M), command, _FINGERTIP)
        return self._still(top, _FINGERTIP)

    def _pick(self, block: Array, command: Array, opening: float, opening_speed: float) -> tuple[Array, float]:
        across, above = self._offset(command, block, _GRASP)
        near = across < _ASTRAY_M and abs(above) < _ASTRAY_M
        if self.phase is Phase.APPROACH:
            # Taken over with the block between closed jaws: it is held already.
            if near and self._is_closed(command) and opening > _GRIPPED_RAD:
                self.phase = Phase.CLOSE
            wide = opening > self._closed + _OPEN_ENOUGH * (self._open - self._closed)
            if across < _OVER_M and wide:
                self.phase = Phase.DESCEND
        elif self.phase is Phase.DESCEND:
            if across > _ASTRAY_M:
                self.phase = Phase.APPROACH
            elif abs(above) < _DOWN_M:
                self.phase = Phase.CLOSE
        elif not near or (self._is_closed(command) and opening < _GRIPPED_RAD):
            self.phase = Phase.APPROACH  # missed or dropped
        elif self.phase is Phase.CLOSE and self._is_closed(command) and abs(opening_speed) < _STALLED_RAD_S:
            self.phase = Phase.LIFT
            self._frozen = None
        if self.phase is Phase.APPROACH:
            self._frozen = None
            return self._over(block + _UP * self._hover_m(), command, _GRASP), self._open
        low = np.array([block[0], block[1], self._support_m + BLOCK_HALF_M])
        if self.phase is Phase.LIFT:
            # The block sits against the fixed jaw now, so straight up is over the hand, not over the block.
            hand = self._contract.end_effector_position(command)
            if self._frozen is None:
                self._frozen = self._high(np.array([hand[0], hand[1], self._support_m + BLOCK_HALF_M + LIFT_M]), _GRASP)
            return self._frozen, self._closed
        return self._still(low, _GRASP), self._closed if self.phase is Phase.CLOSE else self._open

    def _is_closed(self, command: Array) -> bool:
        return bool(command[self._gripper] < self._closed + 0.02)

    def _hover_m(self) -> float:
        """How far above the block's centre to travel: as far as above the highest block of the scene."""
        return HOVER_M + (self._highest_m - self._support_m)

    def _over(self, target: Array, command: Array, tool: Array) -> Array:
        """Arm joints above a block; straight up first when the hand is among the blocks."""
        hand = self._contract.end_effector_position(command)
        self._frozen = None
        safe = _SAFE_HEIGHT_M + self._highest_m
        if hand[2] < safe and np.hypot(*(hand[:2] - target[:2])) > _ASTRAY_M + 0.025:
            up = np.array([hand[0], hand[1], safe + 0.03])
            try:
                return self._reach.solve(up)
            except OutOfReachError:
                pass  # outside the workspace nothing is in the way
        return self._high(target, tool)

    def _high(self, target: Array, tool: Array) -> Array:
        """Arm joints for a target above the blocks, or as far below it as the arm needs."""
        for _ in range(_LOWER_STEPS):
            try:
                return self._reach.solve(target, tool)
            except OutOfReachError:  # noqa: PERF203 (a height that fails is why there is another)
                target = target - _UP * _LOWER_STEP_M
        return self._reach.solve(target, tool)

    def _still(self, target: Array, tool: Array) -> Array:
        """Arm joints for a target that is decided once per phase: the hand must not chase the block that it moves."""
        if self._frozen is None:
            self._frozen = self._reach.solve(target, tool)
        return self._frozen

    def _offset(self, command: Array, target: Array, tool: Array) -> tuple[float, float]:
        """How far the commanded tool point is from the target: across and above, m."""
        assert self._contract.chain is not None
        pose = self._contract.chain.pose(command)
        delta = pose[:3, 3] + pose[:3, :3] @ tool - target
        return float(np.hypot(delta[0], delta[1])), float(delta[2])
