# SPDX-License-Identifier: Apache-2.0
"""An arm that is where it was told to be, with faults to order. No ROS in here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.sim.robots.setpoints import RobotSetpoints, Setpoints

Array = NDArray[np.float64]
# What a delayed arm has not taken yet; a flood drops the oldest.
_MOST_WAITING = 10_000


@dataclass(frozen=True)
class Faults:
    """What is wrong with the arm."""

    delay_s: float = 0.0  # from a command to the state that shows it
    noise_rad: float = 0.0  # standard deviation of each measured position, rad or m
    dropout: float = 0.0  # share of the commands, and of the states, that are lost: 0 to 1
    deaf: bool = False  # no command arrives

    def __post_init__(self) -> None:
        if not 0.0 <= self.delay_s <= 10.0:
            raise ValueError(f"delay_s is {self.delay_s}; write 0 to 10 (s)")
        if not 0.0 <= self.noise_rad < float("inf"):
            raise ValueError(f"noise_rad is {self.noise_rad}; write 0 or more")
        if not 0.0 <= self.dropout <= 1.0:
            raise ValueError(f"dropout is {self.dropout}; write a share, 0 to 1")


class LoopbackArm:
    """Commands become states. Times are integer ns that the caller gives, all from one clock, and do not go back.

    The arm begins in the contract's rest pose and stops at its position limits; ``parts`` are indices of the joints
    that are commanded together; from one ``seed`` the same noise and losses come again.
    """

    def __init__(self, contract: Contract, parts: tuple[NDArray[np.intp], ...], seed: int = 0) -> None:
        self.faults = Faults()
        self._limits = contract.limits
        self._rest = contract.rest
        self._random = np.random.default_rng(seed)
        self._setpoints = RobotSetpoints(contract.rest, parts)
        self._waiting: deque[tuple[int, int, Callable[[Setpoints, int], None]]] = deque(maxlen=_MOST_WAITING)

    def command(self, part: int, change: Callable[[Setpoints, int], None], now_ns: int) -> None:
        """Take a command to a part of the joints: what it does to its set-points."""
        if not self.faults.deaf and not self._lost():
            self._waiting.append((now_ns + round(self.faults.delay_s * 1e9), part, change))

    def state(self, now_ns: int) -> tuple[Array, Array] | None:
        """Measured positions and velocities [J], SI; None where this state is lost."""
        while self._waiting and self._waiting[0][0] <= now_ns:
            due_ns, part, change = self._waiting.popleft()
            change(self._setpoints.parts[part], due_ns)
        position, velocity = self._setpoints.state(now_ns)
        stopped = np.clip(position, self._limits.min_position, self._limits.max_position)
        velocity[stopped != position] = 0.0
        if self._lost():
            return None
        return stopped + self.faults.noise_rad * self._random.standard_normal(len(stopped)), velocity

    def reset(self, now_ns: int) -> None:
        """Be in the rest pose, and forget commands that are under way."""
        self._waiting.clear()
        self._setpoints.forward(now_ns, self._rest)

    def _lost(self) -> bool:
        return self.faults.dropout > 0.0 and self._random.random() < self.faults.dropout


class MovingPicture:
    """Grey pictures that no two in a row are alike: a gradient that wanders, so that a frozen camera is one to see."""

    def __init__(self, width: int, height: int) -> None:
        ramp = np.abs(np.linspace(-1.0, 1.0, width))
        row = (64 + 127 * ramp).astype(np.uint8)
        self._wide = np.repeat(np.tile(np.concatenate([row, row]), (height, 1))[..., None], 3, axis=2)
        self._width = width
        self._step = max(1, width // 40)
        self._at = 0

    def next(self) -> NDArray[np.uint8]:
        """RGB uint8 [H, W, 3]."""
        self._at = (self._at + self._step) % self._width
        return self._wide[:, self._at : self._at + self._width]
