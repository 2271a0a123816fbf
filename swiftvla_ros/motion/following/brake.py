# SPDX-License-Identifier: Apache-2.0
"""A tail for outputs that must end at rest, such as ``trajectory_msgs/JointTrajectory``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import ruckig
from numpy.typing import NDArray

from swiftvla_ros.contract import Limits
from swiftvla_ros.motion.chunk import Command

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Stop:
    """The fastest stop from a command.

    Attributes
    ----------
    times_s
        [N] seconds after the command, rising strictly, all above zero.
    positions, velocities
        [N, J]; the last velocities are zero.
    """

    times_s: Array
    positions: Array
    velocities: Array


def brake_trajectory(command: Command, limits: Limits, *, point_s: float = 0.02) -> Stop:
    """The stop from ``command`` inside the limits, as points ``point_s`` apart: what follows if no command comes.

    From any command of the executor it stays inside the position limits.
    """
    joints = len(command.position)
    wanted = ruckig.InputParameter(joints)
    wanted.control_interface = ruckig.ControlInterface.Velocity
    wanted.synchronization = ruckig.Synchronization.No
    wanted.max_velocity = limits.max_velocity.tolist()
    wanted.max_acceleration = limits.max_acceleration.tolist()
    wanted.max_jerk = limits.max_jerk.tolist()
    wanted.current_position = command.position.tolist()
    wanted.current_velocity = command.velocity.tolist()
    wanted.current_acceleration = command.acceleration.tolist()
    trajectory = ruckig.Trajectory(joints)
    ruckig.Ruckig(joints).calculate(wanted, trajectory)
    count = max(math.ceil(trajectory.duration / point_s), 1)
    times = point_s * np.arange(1, count + 1)
    points = np.array([trajectory.at_time(min(t, trajectory.duration))[:2] for t in times])
    points[-1, 1] = 0.0
    return Stop(times, points[:, 0], points[:, 1])
