# SPDX-License-Identifier: Apache-2.0
"""What a robot driver makes of commands: set-points at any time, as ros2_control's controllers would give them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_NS = 1_000_000_000


@dataclass(frozen=True)
class Waypoint:
    """Position [J] to be reached at ``time_ns``, with velocity [J] where it was given."""

    time_ns: int
    position: Array
    velocity: Array | None = None


class Setpoints:
    """The commanded position over time: a forward command holds or moves at once, a trajectory is interpolated.

    A new trajectory begins at the set-point that is commanded when it takes effect, as joint_trajectory_controller does
    with ``interpolate_from_desired_state``; between points it is a cubic where both ends have a velocity, else a line.
    After its last point the last position is held, as the first one is until the first command. Points that are past
    are skipped.
    """

    def __init__(self, position: Array) -> None:
        self._points = [Waypoint(0, position.copy(), np.zeros_like(position))]
        self._drift = np.zeros_like(position)

    def forward(self, time_ns: int, position: Array) -> None:
        """Hold ``position`` [J] from now on."""
        self._points = [Waypoint(time_ns, position.copy(), np.zeros_like(position))]
        self._drift = np.zeros_like(position)

    def drive(self, time_ns: int, velocity: Array) -> None:
        """Move on with ``velocity`` [J] from now, until another command comes, however long that takes."""
        position, _ = self.state(time_ns)
        self._points = [Waypoint(time_ns, position, velocity.copy())]
        self._drift = velocity.copy()

    def follow(self, now_ns: int, points: list[Waypoint]) -> None:
        """Follow a trajectory from now on."""
        position, velocity = self.state(now_ns)
        ahead = [point for point in points if point.time_ns > now_ns]
        self._points = [Waypoint(now_ns, position, velocity), *ahead]
        self._drift = np.zeros_like(position)

    def at(self, time_ns: int) -> Array:
        """The set-point [J] at a time not before the last command."""
        return self.state(time_ns)[0]

    def state(self, time_ns: int) -> tuple[Array, Array]:
        """Position and velocity [J] of the set-point at a time not before the last command."""
        while len(self._points) > 1 and self._points[1].time_ns <= time_ns:
            self._points.pop(0)
        start = self._points[0]
        if len(self._points) == 1:
            return start.position + self._drift * ((time_ns - start.time_ns) / _NS), self._drift.copy()
        end = self._points[1]
        span_s = (end.time_ns - start.time_ns) / _NS
        u = (time_ns - start.time_ns) / (end.time_ns - start.time_ns)
        step = end.position - start.position
        if start.velocity is None or end.velocity is None:
            return start.position + u * step, step / span_s
        # Cubic Hermite: both positions and both velocities are met.
        v0, v1 = start.velocity * span_s, end.velocity * span_s
        c2, c3 = 3 * step - 2 * v0 - v1, v0 + v1 - 2 * step
        return start.position + u * (v0 + u * (c2 + u * c3)), (v0 + u * (2 * c2 + 3 * u * c3)) / span_s


class RobotSetpoints:
    """The set-points of all joints of a robot, whose parts (arm and gripper, say) are commanded apart.

    ``position`` [J] is held until the first command; ``parts`` are indices into the J joints.
    """

    def __init__(self, position: Array, parts: tuple[NDArray[np.intp], ...]) -> None:
        self._joints = parts
        self._position = position.copy()
        self.parts = tuple(Setpoints(position[joints]) for joints in parts)

    def forward(self, time_ns: int, position: Array) -> None:
        """Hold ``position`` [J], all joints, from now on."""
        for joints, part in zip(self._joints, self.parts, strict=True):
            part.forward(time_ns, position[joints])

    def state(self, time_ns: int) -> tuple[Array, Array]:
        """Position and velocity [J] at a time not before the last command."""
        position, velocity = self._position.copy(), np.zeros_like(self._position)
        for joints, part in zip(self._joints, self.parts, strict=True):
            position[joints], velocity[joints] = part.state(time_ns)
        return position, velocity
