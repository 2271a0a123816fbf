# SPDX-License-Identifier: Apache-2.0
"""The simulated robot alone, as a robot driver would be started: ``ros2 launch swiftvla_ros sim.launch.py``."""

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from swiftvla_ros.bringup import describe_simulated_robot
from swiftvla_ros.bringup.launch_actions import launch_actions
from swiftvla_ros.bringup.processes import DEFAULT_ROBOT


def _start(context: LaunchContext) -> list[Action]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    return launch_actions(
        describe_simulated_robot(value("robot"), namespace=value("namespace"), seed=int(value("seed")))
    )


def generate_launch_description() -> LaunchDescription:
    """Arguments for what a deployment changes; the process comes from :mod:`swiftvla_ros.bringup`."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "robot", default_value=DEFAULT_ROBOT, description="contract: a YAML file or a shipped name"
            ),
            DeclareLaunchArgument("namespace", default_value="", description="ROS namespace of the node"),
            DeclareLaunchArgument("seed", default_value="0", description="the first scene"),
            OpaqueFunction(function=_start),
        ]
    )
