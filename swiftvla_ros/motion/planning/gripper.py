# SPDX-License-Identifier: Apache-2.0
"""A gripper that is either open or closed, made of rows that say anything between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Limits
from swiftvla_ros.motion.chunk import NS

Array = NDArray[np.float64]

_SHARE = 0.8  # of the limits; the curve through the rows needs a little more than the rows show


@dataclass(frozen=True)
class BinaryGripper:
    """Where the gripper is open and closed, and what rows mean (rad or m): see ``gripper.binary`` of the contract."""

    joint: str
    open: float
    closed: float
    close_below: float
    open_above: float


@dataclass(frozen=True)
class Switch:
    """From ``begin_ns`` on, from where it was to open or closed."""

    begin_ns: int
    start: float
    end: float


class GripperSwitch:
    """Remembers whether the gripper is open or closed, across chunks.

    A row below ``close_below`` closes it and one above ``open_above`` opens it; rows between leave it as it is. The way
    over is a smooth step that takes as long as the joint's limits ask for, and goes on as it began when chunks change.
    """

    def __init__(self, config: BinaryGripper, joint: int, limits: Limits) -> None:
        self.joint = joint
        self._config = config
        way = config.open - config.closed
        v, a, j = (
            float(_SHARE * limit[joint]) for limit in (limits.max_velocity, limits.max_acceleration, limits.max_jerk)
        )
        # peaks of a quintic smooth step over one unit of way and time
        self._duration_s = max(1.875 * way / v, (5.78 * way / a) ** 0.5, (60.0 * way / j) ** (1 / 3))
        self._switches: tuple[Switch, ...] = ()

    @classmethod
    def among(cls, joints: tuple[str, ...], config: BinaryGripper | None, limits: Limits) -> GripperSwitch | None:
        """Make the switch of a robot's gripper, where rows are to switch it."""
        return None if config is None else cls(config, joints.index(config.joint), limits)

    def forget(self) -> None:
        """Begin anew: the next chunk finds the gripper as it is measured."""
        self._switches = ()

    def take(self, switches: tuple[Switch, ...]) -> None:
        """Remember what :meth:`shaped` answered for a chunk that is followed."""
        self._switches = switches

    def shaped(
        self, times_ns: NDArray[np.int64], values: Array, now_ns: int, pose: float | None
    ) -> tuple[Array, tuple[Switch, ...]]:
        """Positions [K] for rows [K] at times [K], and what to remember. Rows that are past don't switch.

        ``pose``: where the gripper stands, for a motion that begins from rest; None goes on from the last one.
        """
        config = self._config
        switches = [s for s in self._switches if s.begin_ns <= now_ns]
        if pose is not None or not switches:
            place = float(values[0]) if pose is None else pose
            middle = (config.open + config.closed) / 2
            remembered = switches[-1].end if switches else config.closed if place < middle else config.open
            switches = [Switch(now_ns, place, remembered)]
        due = max(int(np.searchsorted(times_ns, now_ns, side="right")) - 1, 0)
        for t_ns, value in zip(times_ns[due:].tolist(), values[due:].tolist(), strict=True):
            target = switches[-1].end
            if value < config.close_below:
                target = config.closed
            elif value > config.open_above:
                target = config.open
            if target != switches[-1].end:
                begin_ns = max(t_ns, now_ns)
                start = float(self._at(switches, np.array([begin_ns]))[0])
                switches.append(Switch(begin_ns, start, target))
        shaped = self._at(switches, times_ns)
        over_ns = now_ns - round(self._duration_s * NS)
        done = [k for k, s in enumerate(switches) if s.begin_ns <= over_ns]
        return shaped, tuple(switches[done[-1] if done else 0 :])

    def _at(self, switches: list[Switch], times_ns: NDArray[np.int64]) -> Array:
        position = np.full(len(times_ns), switches[0].start)
        for switch in switches:
            u = np.clip((times_ns - switch.begin_ns) / NS / self._duration_s, 0.0, 1.0)
            step = switch.start + (switch.end - switch.start) * u**3 * (10.0 + u * (6.0 * u - 15.0))
            position = np.where(times_ns >= switch.begin_ns, step, position)
        return position
