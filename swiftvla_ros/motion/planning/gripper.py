# SPDX-License-Identifier: Apache-2.0
"""Grippers that are either open or closed, made of rows that say anything between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Limits
from swiftvla_ros.contract.control import Gripper
from swiftvla_ros.motion.chunk import NS
from swiftvla_ros.motion.smooth_step import smooth_step

Array = NDArray[np.float64]

_SHARE = 0.8  # of the limits; the curve through the rows needs a little more than the rows show


@dataclass(frozen=True)
class Switch:
    """From ``begin_ns`` on, from where it was to open or closed."""

    begin_ns: int
    start: float
    end: float


Switches = tuple[tuple[Switch, ...], ...]
"""What is remembered of each gripper."""


class GripperSwitches:
    """Whether each gripper is open or closed, across chunks.

    A row below ``close_below`` closes it and one above ``open_above`` opens it; rows between leave it as it is. The way
    over is a smooth step that takes as long as the joint's limits ask for, and goes on as it began when chunks change.
    """

    def __init__(self, joint_names: tuple[str, ...], grippers: tuple[Gripper, ...], limits: Limits) -> None:
        self.joints = [joint_names.index(gripper.joint) for gripper in grippers]
        self._each = [_GripperSwitch(config, j, limits) for config, j in zip(grippers, self.joints, strict=True)]

    def shaped(
        self, times_ns: NDArray[np.int64], rows: Array, now_ns: int, pose: Array | None, past: Switches | None
    ) -> tuple[Array, Switches]:
        """Rows [K, J] at times [K] with each gripper on its way, and what the next chunk is given as ``past``.

        Rows that are past don't switch. ``pose``: where the joints [J] stand, for a motion that begins from rest; None
        goes on from the last one. Where ``past`` is None the grippers are as they are measured.
        """
        rows, switches = rows.copy(), []
        for j, gripper, before in zip(self.joints, self._each, past or ((),) * len(self._each), strict=True):
            place = None if pose is None else float(pose[j])
            rows[:, j], remembered = gripper.shaped(before, times_ns, rows[:, j], now_ns, place)
            switches.append(remembered)
        return rows, tuple(switches)


class _GripperSwitch:
    """One gripper's way between open and closed."""

    def __init__(self, config: Gripper, joint: int, limits: Limits) -> None:
        assert config.binary is not None, "the others are not switched"
        self._config, self._binary = config, config.binary
        way = config.open - config.closed
        v, a, j = (
            float(_SHARE * limit[joint]) for limit in (limits.max_velocity, limits.max_acceleration, limits.max_jerk)
        )
        # peaks of a quintic smooth step over one unit of way and time
        self._duration_s = max(1.875 * way / v, (5.78 * way / a) ** 0.5, (60.0 * way / j) ** (1 / 3))

    def shaped(
        self,
        past: tuple[Switch, ...],
        times_ns: NDArray[np.int64],
        values: Array,
        now_ns: int,
        pose: float | None,
    ) -> tuple[Array, tuple[Switch, ...]]:
        """Positions [K] for rows [K] at times [K] after ``past`` switches, and what to remember."""
        config = self._config
        switches = [s for s in past if s.begin_ns <= now_ns]
        if pose is not None or not switches:
            place = float(values[0]) if pose is None else pose
            middle = (config.open + config.closed) / 2
            remembered = switches[-1].end if switches else config.closed if place < middle else config.open
            switches = [Switch(now_ns, place, remembered)]
        due = max(int(np.searchsorted(times_ns, now_ns, side="right")) - 1, 0)
        for t_ns, value in zip(times_ns[due:].tolist(), values[due:].tolist(), strict=True):
            target = switches[-1].end
            if value < self._binary.close_below:
                target = config.closed
            elif value > self._binary.open_above:
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
            step = switch.start + smooth_step(u, switch.end - switch.start)
            position = np.where(times_ns >= switch.begin_ns, step, position)
        return position
