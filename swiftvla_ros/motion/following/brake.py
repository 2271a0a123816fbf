# SPDX-License-Identifier: Apache-2.0
"""A tail for outputs that must end at rest, such as ``trajectory_msgs/JointTrajectory``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import ruckig
from numpy.typing import NDArray

from swiftvla_ros.contract import Limits
from swiftvla_ros.contract.contract import Joints
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


def brake_trajectory(command: Command, limits: Limits, *, joints: Joints = slice(None), point_s: float = 0.02) -> Stop:
    """The stop from ``command`` inside the limits, as points ``point_s`` apart: what follows if no command comes.

    From any command of the executor it stays inside the position limits. ``joints`` says of which it is.
    """
    position = command.position[joints].tolist()
    count = len(position)
    wanted = ruckig.InputParameter(count)
    wanted.control_interface = ruckig.ControlInterface.Velocity
    wanted.synchronization = ruckig.Synchronization.No
    wanted.max_velocity = limits.max_velocity[joints].tolist()
    wanted.max_acceleration = limits.max_acceleration[joints].tolist()
    wanted.max_jerk = limits.max_jerk[joints].tolist()
    wanted.current_position = position
    wanted.current_velocity = command.velocity[joints].tolist()
    wanted.current_acceleration = command.acceleration[joints].tolist()
    trajectory = ruckig.Trajectory(count)
    ruckig.Ruckig(count).calculate(wanted, trajectory)
    points_in_all = max(math.ceil(trajectory.duration / point_s), 1)
    times = point_s * np.arange(1, points_in_all + 1)
    points = np.array([trajectory.at_time(min(t, trajectory.duration))[:2] for t in times])
    points[-1, 1] = 0.0
    return Stop(times, points[:, 0], points[:, 1])
