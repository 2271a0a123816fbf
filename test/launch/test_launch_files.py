# SPDX-License-Identifier: Apache-2.0
"""The launch files start what the supervisor starts."""

import runpy
from pathlib import Path

import pytest

# Not "launch": the checkout's folder of that name would be taken for it.
pytest.importorskip("launch.actions", reason="launch is not installed: it comes with a ROS installation")
pytest.importorskip("launch_ros", reason="launch_ros is not installed: it comes with a ROS installation")

from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch_ros.actions import Node

from swiftvla_ros.bringup.processes import ProcessDescription, describe, describe_simulated_robot
from swiftvla_ros.bringup.system_options import SystemOptions, options_of


def nodes(repository: Path, file: str, **arguments: str) -> list[Node]:
    """Evaluate a launch file with arguments and give the nodes that it would start."""
    description = runpy.run_path(str(repository / "launch" / file))["generate_launch_description"]()
    context = LaunchContext()
    found: list[Node] = []
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument):
            context.launch_configurations.update(arguments)
            entity.execute(context)
        elif isinstance(entity, OpaqueFunction):
            found += [e for e in entity.execute(context) or [] if isinstance(e, Node)]
    return found


def summary(found: list[Node]) -> dict[str, str]:
    """Give name and executable of each node."""
    return {n._Node__node_name: n.node_executable for n in found}  # type: ignore[attr-defined]


def expected(processes: list[ProcessDescription]) -> dict[str, str]:
    """Give name and executable of each process."""
    return {p.name: p.executable for p in processes}


def test_policy_launch_starts_the_described_processes(repository: Path) -> None:
    """Protects: `ros2 launch` and `swiftvla up` run the same system."""
    for arguments, options in (
        ({"sim": "true"}, SystemOptions(sim=True)),
        ({"loopback": "true"}, SystemOptions(loopback=True)),
        ({"robot": "so101"}, SystemOptions("so101")),
    ):
        assert summary(nodes(repository, "policy.launch.py", **arguments)) == expected(describe(options))


def test_every_option_is_an_argument(repository: Path) -> None:
    """Protects: what `swiftvla up` takes, `ros2 launch` takes, with the same default."""
    description = runpy.run_path(str(repository / "launch" / "policy.launch.py"))["generate_launch_description"]()
    context = LaunchContext()
    declared = {a.name: a.default_value for a in description.get_launch_arguments()}
    given = {name: "".join(part.perform(context) for part in parts) for name, parts in declared.items()}
    assert given == {o.name: o.default_text for o in options_of(SystemOptions)}


def test_sim_launch_starts_the_robot_alone(repository: Path) -> None:
    """Protects: the simulator can stand in for a driver."""
    assert summary(nodes(repository, "sim.launch.py")) == expected([describe_simulated_robot(SystemOptions())])
