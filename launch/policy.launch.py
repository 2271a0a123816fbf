# SPDX-License-Identifier: Apache-2.0
"""The whole system: ``ros2 launch swiftvla_ros policy.launch.py robot:=so101`` or ``… sim:=true``."""

from launch import LaunchDescription

from swiftvla_ros.bringup.launch_actions import launch_description
from swiftvla_ros.bringup.processes import describe
from swiftvla_ros.bringup.system_options import SystemOptions


def generate_launch_description() -> LaunchDescription:
    return launch_description(SystemOptions, describe)
