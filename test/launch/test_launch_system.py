# SPDX-License-Identifier: Apache-2.0
"""The whole system under the real ``launch``: it comes up, takes an instruction, and ends cleanly."""

from collections.abc import Iterator
from pathlib import Path

import pytest

# Not "launch": the checkout's folder of that name would be taken for it.
pytest.importorskip("launch.actions", reason="launch is not installed: it comes with a ROS installation")
launch_pytest = pytest.importorskip("launch_pytest", reason="launch_pytest is not installed: it comes with ROS")
pytest.importorskip("launch_ros", reason="launch_ros is not installed: it comes with a ROS installation")
ament_index = pytest.importorskip("ament_index_python.packages", reason="ament_index_python is not installed")
try:
    ament_index.get_package_prefix("swiftvla_ros")
except (LookupError, OSError):  # not there, or AMENT_PREFIX_PATH is not set
    pytest.skip("swiftvla_ros is not in the ament index: source install/setup.bash", allow_module_level=True)

from launch import LaunchDescription  # noqa: E402
from launch.actions import IncludeLaunchDescription, RegisterEventHandler  # noqa: E402
from launch.event_handlers import OnProcessExit  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402

from swiftvla_ros.bringup.processes import describe  # noqa: E402
from swiftvla_ros.bringup.system_options import SystemOptions  # noqa: E402
from swiftvla_ros.cli.live.graph import LiveGraph  # noqa: E402
from swiftvla_ros.contract import load_contract  # noqa: E402

START_TIMEOUT_S = 90.0


@pytest.fixture
def exits() -> dict[str, int]:
    """Collect the exit codes of all processes, by the program's name and number."""
    return {}


@launch_pytest.fixture
def system(ros_environment: dict[str, str], repository: Path, exits: dict[str, int]) -> LaunchDescription:
    """Start `ros2 launch swiftvla_ros policy.launch.py sim:=true`."""
    assert ros_environment["ROS_DOMAIN_ID"]
    file = PythonLaunchDescriptionSource(str(repository / "launch" / "policy.launch.py"))

    def remember(event, _context) -> None:
        exits[event.process_name] = event.returncode

    return LaunchDescription(
        [
            RegisterEventHandler(OnProcessExit(on_exit=remember)),
            IncludeLaunchDescription(file, launch_arguments={"sim": "true"}.items()),
            launch_pytest.actions.ReadyToTest(),
        ]
    )


@pytest.mark.ros
@pytest.mark.launch(fixture=system)
def test_the_system_comes_up_moves_and_ends_cleanly(exits: dict[str, int]) -> Iterator[None]:
    """Protects: the way a ROS machine starts it, from launch file to a clean end of every process."""
    moving: list[str] = []
    with LiveGraph() as graph:
        graph.wait_until_ready(load_contract("so101_sim"), START_TIMEOUT_S)
        refused = graph.run_instruction("", timeout_s=1.0)
        assert refused.name == "REFUSED"
        graph.run_instruction("touch the blue block", 4.0, lambda f: moving.append(f.phase))
    assert "moving" in moving
    assert not exits
    yield
    assert len(exits) == len(describe(SystemOptions(sim=True)))
    assert set(exits.values()) == {0}
