# SPDX-License-Identifier: Apache-2.0
"""A bag's sensors into the graph, with its time: ``ros2 launch swiftvla_ros replay.launch.py bag:=runs/demo-…/bag``."""

from pathlib import Path

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from swiftvla_ros.bringup import describe_replay
from swiftvla_ros.bringup.launch_actions import launch_actions


def _start(context: LaunchContext) -> list[Action]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    return launch_actions(
        [
            describe_replay(
                Path(value("bag")),
                namespace=value("namespace"),
                rate=float(value("rate")),
                loop=value("loop").lower() == "true",
                sensors=value("sensors"),
            )
        ]
    )


def generate_launch_description() -> LaunchDescription:
    """Arguments as the node's parameters; start the nodes that are to listen with use_sim_time."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="folder of the bag to play"),
            DeclareLaunchArgument("namespace", default_value="", description="ROS namespace of the node"),
            DeclareLaunchArgument("rate", default_value="1.0", description="how many times as fast as recorded"),
            DeclareLaunchArgument("loop", default_value="false", description="play again and again"),
            DeclareLaunchArgument(
                "sensors", default_value="auto", description="raw (the drivers' topics), conditioned or auto"
            ),
            OpaqueFunction(function=_start),
        ]
    )
