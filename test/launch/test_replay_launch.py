# SPDX-License-Identifier: Apache-2.0
"""The launch file of replay starts what the package describes."""

import runpy
from pathlib import Path

import pytest

pytest.importorskip("launch.actions", reason="launch is not installed: it comes with a ROS installation")
pytest.importorskip("launch_ros", reason="launch_ros is not installed: it comes with a ROS installation")

from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch_ros.actions import Node


def test_replay_launch_starts_the_player(repository: Path) -> None:
    """Protects: `ros2 launch` plays a bag as `swiftvla replay --live` does."""
    description = runpy.run_path(str(repository / "launch" / "replay.launch.py"))["generate_launch_description"]()
    context = LaunchContext()
    context.launch_configurations["bag"] = "some/bag"
    found = []
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.execute(context)
        elif isinstance(entity, OpaqueFunction):
            found += [e for e in entity.execute(context) or [] if isinstance(e, Node)]
    assert [node.node_executable for node in found] == ["replay_node"]
