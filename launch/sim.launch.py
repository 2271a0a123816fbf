# SPDX-License-Identifier: Apache-2.0
"""The simulated robot alone, as a robot driver would be started: ``ros2 launch swiftvla_ros sim.launch.py``."""

from launch import LaunchDescription

from swiftvla_ros.bringup.launch_actions import launch_description
from swiftvla_ros.bringup.processes import describe_simulated_robot
from swiftvla_ros.bringup.system_options import SystemOptions


def generate_launch_description() -> LaunchDescription:
    return launch_description(SystemOptions, lambda o: [describe_simulated_robot(o)], ("robot", "namespace", "seed"))
