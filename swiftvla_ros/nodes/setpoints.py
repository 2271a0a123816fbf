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
    """The commanded position over time: a forward command holds at once, a trajectory is interpolated.

    A new trajectory begins at the set-point that is commanded when it takes effect, as joint_trajectory_controller
    does with ``interpolate_from_desired_state``; between points it is a cubic where both ends have a velocity, else a
    line. After its last point the last position is held. Points that are past are skipped.

    Parameters
    ----------
    position
        Held until the first command [J].
    """

    def __init__(self, position: Array) -> None:
        self._points = [Waypoint(0, position.copy(), np.zeros_like(position))]

    def forward(self, time_ns: int, position: Array) -> None:
        """Hold ``position`` [J] from now on."""
        self._points = [Waypoint(time_ns, position.copy(), np.zeros_like(position))]

    def follow(self, now_ns: int, points: list[Waypoint]) -> None:
        """Follow a trajectory from now on."""
        position, velocity = self._at(now_ns)
        ahead = [point for point in points if point.time_ns > now_ns]
        self._points = [Waypoint(now_ns, position, velocity), *ahead]

    def at(self, time_ns: int) -> Array:
        """The set-point [J] at a time not before the last command."""
        return self._at(time_ns)[0]

    def _at(self, time_ns: int) -> tuple[Array, Array]:
        while len(self._points) > 1 and self._points[1].time_ns <= time_ns:
            self._points.pop(0)
        start = self._points[0]
        if len(self._points) == 1:
            return start.position.copy(), np.zeros_like(start.position)
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
