# SPDX-License-Identifier: Apache-2.0
"""Nodes whose topics are silent, whose clock stands still, who have no home or were stopped: each says so, and why."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.exit_codes import EXIT_STOOD_STILL
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import driver_state, rgb_message

CONTRACT = load_contract("so101_sim")
FRONT, WRIST = CONTRACT.camera("front").topic, CONTRACT.camera("wrist").topic
COLD: dict[str, str] = {}


@pytest.fixture(scope="module")
def nodes(graph: Any, tmp_path_factory: pytest.TempPathFactory, repository: Path) -> dict[str, Any]:
    """All nodes of this file, started at once: each waits for something."""
    hurried = tmp_path_factory.mktemp("lease") / "profile.xml"
    text = (repository / "config" / "fastdds_udp.xml").read_text().replace("<sec>10</sec>", "<sec>2</sec>")
    hurried.write_text(text)
    start, robot = graph.start, {"robot": "so101_sim"}
    return {
        "wrist": start("camera_node", "camera_wrist", camera="wrist", environment=COLD, **robot),
        "front": start("camera_node", "camera_front", camera="front", repeated_for_s=0.2,
                       environment={"HOME": "", "ROS_LOG_DIR": ""}, **robot),
        "timeless": start("joint_state_node", "timeless", use_sim_time=True, environment=COLD, **robot),
        "stopped": start("joint_state_node", "stopped", "away",
                         environment={"FASTDDS_DEFAULT_PROFILES_FILE": str(hurried)}, **robot),
    }  # fmt: skip


def test_a_silent_camera_says_who_publishes_what(graph: Any, nodes: Any, wait_until: Callable[..., None]) -> None:
    """image_transport's image_raw/compressed beside an image_raw that nobody publishes, in log and topic (F10)."""
    graph.node.create_publisher(Image, f"{WRIST}2", qos.IMAGE)
    problems = graph.listen(String, "observation/wrist_problem", qos.LATCHED)
    wait_until(lambda: f"nobody publishes on {WRIST}: sensor_msgs/msg/Image comes on {WRIST}2 (from /test)"
               in nodes["wrist"].output(), "the silence is explained", 60)  # fmt: skip
    wait_until(lambda: problems.messages and f"{WRIST}2" in problems.last.data, "the policy can read it")
    graph.node.create_publisher(CompressedImage, WRIST, qos.IMAGE)
    wait_until(lambda: "/test publishes sensor_msgs/msg/CompressedImage" in problems.last.data, "the type is told")
    diagnostics = pytest.importorskip("diagnostic_msgs.msg", reason="diagnostic_msgs is not installed")
    health = graph.listen(diagnostics.DiagnosticArray, "/diagnostics", 10)
    wait_until(lambda: any("CompressedImage" in m.status[0].message for m in health.messages), "and in diagnostics")


def test_a_simulated_time_that_does_not_come_is_named(nodes: Any, wait_until: Callable[..., None]) -> None:
    """use_sim_time without /clock: not one line was said (report C)."""
    text = "use_sim_time is true and no time comes on /clock, so nothing is done: nobody publishes on /clock"
    wait_until(lambda: text in nodes["timeless"].output(), "the clock is named", 60)


def test_no_home(nodes: Any, wait_until: Callable[..., None]) -> None:
    """Without HOME a node runs, and says where its log files are (report E)."""
    wait_until(lambda: "neither HOME nor ROS_LOG_DIR is set: log files go to" in nodes["front"].output(), "told", 60)


def test_a_still_scene_is_believed_until_the_arm_moves(graph: Any, nodes: Any, wait_until: Callable[..., None]) -> None:
    """One picture with fresh stamps reaches the policy while the arm rests; once it has moved, no more (report F5)."""
    driver = graph.node.create_publisher(Image, FRONT, qos.IMAGE)
    arm = graph.node.create_publisher(JointState, "observation/state", qos.STATE)
    output = graph.listen(Image, "observation/front", qos.STATE_INPUT)
    picture, pose = np.zeros((480, 640, 3), np.uint8), CONTRACT.rest.copy()

    def step(by: float) -> None:
        pose[0] += by
        ns = graph.node.get_clock().now().nanoseconds
        message = driver_state(CONTRACT, ns, pose, np.zeros(6))
        message.position = pose.tolist()
        arm.publish(message)
        driver.publish(rgb_message(picture, ns, ""))

    wait_until(lambda: (step(0.0), len(output.messages) > 20)[1], "still pictures are taken", 60)
    assert "refused" not in nodes["front"].output()
    wait_until(lambda: (step(0.01), "while the arm moved: the driver repeats it" in nodes["front"].output())[1], "told")
    assert "may_repeat: true" in nodes["front"].output()
    picture[0, 0] = 1
    count = len(output.messages)
    wait_until(lambda: (step(0.0), len(output.messages) > count)[1], "another picture is taken")


def test_a_process_that_stood_still_ends_to_be_started_anew(nodes: Any, wait_until: Callable[..., None]) -> None:
    """The others have dropped it, and may not hear it for minutes: the supervisor's respawn is the way back."""
    wait_until(lambda: "joint" in nodes["stopped"].output(), "the node runs", 60)
    nodes["stopped"].process.send_signal(signal.SIGSTOP)
    begin_s = time.monotonic()
    wait_until(lambda: time.monotonic() - begin_s > 2.6, "longer than the lease")
    nodes["stopped"].process.send_signal(signal.SIGCONT)
    assert nodes["stopped"].wait(15) == EXIT_STOOD_STILL
    assert "this process stood still for" in nodes["stopped"].output()
