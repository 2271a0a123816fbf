# SPDX-License-Identifier: Apache-2.0
"""A simulated system that LeRobot drives: observations come in, actions move the arm, and no command leaves a limit.

The system runs in an environment of its own, whose ``swiftvla`` the variable ``SWIFTVLA_SYSTEM`` names.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lerobot_robot_swiftvla import SwiftVLARobot, SwiftVLARobotConfig
from lerobot_robot_swiftvla.graph_link import RobotLinkError
from swiftvla_ros.bringup.processes import transport_environment
from swiftvla_ros.contract import load_contract

SYSTEM = os.environ.get("SWIFTVLA_SYSTEM", "")
DOMAIN = {"ROS_DOMAIN_ID": "88", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
CONTRACT = load_contract("so101_sim")
FPS = 10.0
OF_THE_WHEELS = ("LD_LIBRARY_PATH", "AMENT_PREFIX_PATH", "PYTHONPATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")

pytestmark = pytest.mark.skipif(not SYSTEM, reason="SWIFTVLA_SYSTEM names no swiftvla with ROS: run make setup")


def system_environment() -> dict[str, str]:
    """What this process was told, without what its own ROS wheels have added for themselves."""
    return {key: value for key, value in os.environ.items() if key not in OF_THE_WHEELS}


class System:
    """The simulated arm with an executor and a recorder, without a policy."""

    def __init__(self, folder: Path) -> None:
        self.bag, self._log = folder / "bag", (folder / "up.log").open("w")
        command = [SYSTEM, "up", "--sim", "--teleop", "leader", "--checkpoint", "", "--record", str(self.bag)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, env=system_environment())

    def end(self) -> None:
        """End it, after which the bag is whole."""
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        self._process.wait(120)
        self._log.close()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Return the system, running."""
    folder = tmp_path_factory.mktemp("system")
    os.environ.update({**DOMAIN, **transport_environment(), "HF_LEROBOT_CALIBRATION": str(folder / "calibration")})
    system = System(folder)
    yield system
    system.end()


@pytest.fixture
def robot(system: System) -> Iterator[SwiftVLARobot]:  # noqa: ARG001  (it runs)
    """Return the robot, connected."""
    robot = SwiftVLARobot(SwiftVLARobotConfig(id="test", connect_s=180.0))
    robot.connect()
    yield robot
    robot.disconnect()


def lead(robot: SwiftVLARobot, target: np.ndarray) -> np.ndarray:
    """Send an action, and return what was sent; begin again where a machine that stands still made the arm hold."""
    action = {f"{name}.pos": float(value) for name, value in zip(CONTRACT.joint_names, target, strict=True)}
    try:
        return joints(robot.send_action(action))
    except RobotLinkError as error:
        if "the arm holds" not in str(error):
            raise
        print(error)
        robot.disconnect()
        robot.connect()
        return joints(robot.send_action(action))


def joints(observation: dict) -> np.ndarray:
    """The joints of an observation, in the contract's order."""
    return np.array([observation[f"{name}.pos"] for name in CONTRACT.joint_names])


@pytest.mark.usefixtures("robot")
def test_another_leader_is_refused() -> None:
    """Protects the arm from two that pull at it."""
    with pytest.raises(RobotLinkError, match="another leader publishes there"):
        SwiftVLARobot(SwiftVLARobotConfig(id="second", connect_s=20.0)).connect()


def test_actions_move_the_arm(robot: SwiftVLARobot) -> None:
    """Protects the whole way: what LeRobot sends is where the arm goes, and what it sees is the arm."""
    first = robot.get_observation()
    assert first.keys() == robot.observation_features.keys()
    assert {key: value.shape for key, value in first.items() if isinstance(value, np.ndarray)} == {
        "front": (96, 96, 3),
        "wrist": (96, 96, 3),
    }
    start = joints(first)
    goal = start + np.array([0.5, 0.2, 0.2, -0.2, 0.3, 0.2])
    # By steps, not by time: a machine that stands still makes no jump.
    for share in np.linspace(0.0, 1.0, 30):
        target = start + share * (goal - start)
        np.testing.assert_allclose(lead(robot, target), target, atol=1e-6)
        time.sleep(1.0 / FPS)
    deadline = time.monotonic() + 60.0
    while (gap := np.abs(joints(robot.get_observation()) - goal).max()) > 0.05:
        assert time.monotonic() < deadline, f"the arm is {gap:.3f} rad from where it was led"
        lead(robot, goal)
        time.sleep(1.0 / FPS)
    far = np.array([9.0, *goal[1:]])
    assert lead(robot, far)[0] == pytest.approx(CONTRACT.limits.max_position[0]), "what is given back is inside"


def test_steps_are_followed_inside_limits(robot: SwiftVLARobot) -> None:
    """Protects from a policy that knows no speed: more than a radian from one action to the next, and nothing holds."""
    start = joints(robot.get_observation())
    for k in range(20):
        target = start + np.array([0.6 * (-1) ** (k // 4), 0, 0, 0, 0, 0])
        lead(robot, target)
        time.sleep(1.0 / FPS)


def test_a_joint_is_missing(robot: SwiftVLARobot) -> None:
    """Protects from half an action, and from one that is no number."""
    with pytest.raises(RobotLinkError, match=r"not \['gripper.pos'\]"):
        robot.send_action({f"{name}.pos": 0.0 for name in CONTRACT.joint_names[:-1]})
    with pytest.raises(RobotLinkError, match="not finite"):
        robot.send_action({f"{name}.pos": float("nan") for name in CONTRACT.joint_names})


def test_lerobot_finds_it() -> None:
    """Protects ``--robot.type=swiftvla``: LeRobot's commands find the plugin."""
    from lerobot.robots import make_robot_from_config
    from lerobot.utils.import_utils import register_third_party_plugins

    register_third_party_plugins()
    config = SwiftVLARobotConfig(id="found")
    assert config.type == "swiftvla"
    robot = make_robot_from_config(config)
    assert isinstance(robot, SwiftVLARobot)
    assert len(robot.cameras) == len(CONTRACT.camera_names), "lerobot-record makes so many threads"


def test_no_command_left_a_limit(system: System, capsys: pytest.CaptureFixture) -> None:
    """Protects what all is for, over everything that was sent above."""
    system.end()
    command, environment = [SYSTEM, "check-motion", str(system.bag)], system_environment()
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    with capsys.disabled():
        print(f"\n{result.stdout}")
    assert result.returncode == 0, result.stdout + result.stderr
