# SPDX-License-Identifier: Apache-2.0
"""Any robot with a contract as a robot of LeRobot, over the ROS graph: ``--robot.type=swiftvla``."""

from lerobot_robot_swiftvla.config_swiftvla import SwiftVLARobotConfig
from lerobot_robot_swiftvla.swiftvla import SwiftVLARobot

__all__ = ["SwiftVLARobot", "SwiftVLARobotConfig"]
