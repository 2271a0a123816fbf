# SPDX-License-Identifier: Apache-2.0
"""What LeRobot's command line asks of a robot."""

from __future__ import annotations

from dataclasses import dataclass

from lerobot.robots.config import RobotConfig


@RobotConfig.register_subclass("swiftvla")
@dataclass(kw_only=True)
class SwiftVLARobotConfig(RobotConfig):
    """Which robot, and how long it is waited for.

    ``hold_s``: the arm rests at the last action for so long where no other comes, as when a policy thinks; after that
    it holds, and LeRobot's loop is ended.
    """

    robot: str = "so101_sim"  # the contract: a shipped name or a YAML file
    namespace: str = ""  # ROS namespace of the system
    connect_s: float = 20.0  # the system's topics have to be there within so long
    hold_s: float = 5.0
