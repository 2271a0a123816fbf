# SPDX-License-Identifier: Apache-2.0
"""A bag's sensors into the graph, with its time: ``ros2 launch swiftvla_ros replay.launch.py bag:=runs/demo-…/bag``.

Start the nodes that are to listen with use_sim_time.
"""

from launch import LaunchDescription

from swiftvla_ros.bringup.launch_actions import launch_description
from swiftvla_ros.bringup.processes import describe_replay
from swiftvla_ros.bringup.system_options import ReplayOptions


def generate_launch_description() -> LaunchDescription:
    return launch_description(ReplayOptions, lambda options: [describe_replay(options)])
