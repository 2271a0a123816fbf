# SPDX-License-Identifier: Apache-2.0
"""The whole system: ``ros2 launch swiftvla_ros policy.launch.py robot:=so101`` or ``… sim:=true``."""

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from swiftvla_ros.bringup import describe
from swiftvla_ros.bringup.launch_actions import launch_actions
from swiftvla_ros.bringup.processes import DEFAULT_CHECKPOINT, DEFAULT_ROBOT


def _start(context: LaunchContext) -> list[Action]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    def is_true(name: str) -> bool:
        return value(name).lower() in ("true", "1")

    return launch_actions(
        describe(
            value("robot"),
            value("checkpoint"),
            device=value("device"),
            namespace=value("namespace"),
            sim=is_true("sim"),
            loopback=is_true("loopback"),
            shadow=is_true("shadow"),
            seed=int(value("seed")),
            record=value("record"),
            black_box=value("black_box"),
            geometry=is_true("geometry"),
            targets=value("targets"),
        )
    )


def generate_launch_description() -> LaunchDescription:
    """Arguments for what a deployment changes; the processes come from :mod:`swiftvla_ros.bringup`."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "robot", default_value=DEFAULT_ROBOT, description="contract: a YAML file or a shipped name"
            ),
            DeclareLaunchArgument("checkpoint", default_value=DEFAULT_CHECKPOINT, description="the policy's folder"),
            DeclareLaunchArgument("device", default_value="auto", choices=["auto", "cpu", "cuda"]),
            DeclareLaunchArgument("namespace", default_value="", description="ROS namespace of all nodes"),
            DeclareLaunchArgument("sim", default_value="false", description="start the simulated robot, too"),
            DeclareLaunchArgument(
                "loopback", default_value="false", description="start an arm that is where it is told to be, too"
            ),
            DeclareLaunchArgument(
                "shadow", default_value="false", description="command nothing; publish what would be"
            ),
            DeclareLaunchArgument("seed", default_value="0", description="the simulated robot's first scene"),
            DeclareLaunchArgument("record", default_value="", description="new folder: a bag of everything"),
            DeclareLaunchArgument(
                "black_box", default_value="", description="folder: the last 30 s on a fault, a stop or a take-over"
            ),
            DeclareLaunchArgument("geometry", default_value="false", description="start the 4D transformer, too"),
            DeclareLaunchArgument("targets", default_value="", description="folder for its teacher targets"),
            OpaqueFunction(function=_start),
        ]
    )
