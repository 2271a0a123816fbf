# SPDX-License-Identifier: Apache-2.0
"""``swiftvla up`` with the real nodes: the whole system without ``ros2 launch``."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

START_TIMEOUT_S = 120.0
END_TIMEOUT_S = 20.0
TELL = [sys.executable, "-m", "swiftvla_ros.cli.main", "tell"]


class Up:
    """``swiftvla up`` in a session of its own, and everything that it printed."""

    def __init__(self, *arguments: str, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "swiftvla_ros.cli.main", "up", *arguments]
        self.process = subprocess.Popen(
            command,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.text = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.text += line

    def children(self) -> list[int]:
        """List the processes that it started and that run."""
        task = Path(f"/proc/{self.process.pid}/task")
        found = [pid for thread in task.glob("*/children") for pid in thread.read_text().split()]
        return [int(pid) for pid in found]

    def child(self, name: str) -> int | None:
        """Give the process id of the node ``name``."""
        for pid in self.children():
            try:
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if f"__node:={name}" in arguments:
                return pid
        return None


@pytest.fixture
def start_up(ros_environment: dict[str, str]) -> Iterator[Callable[..., Up]]:
    """Give a function that runs ``swiftvla up`` with arguments; it is killed at the end."""
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")
    started: list[Up] = []

    def start(*arguments: str) -> Up:
        started.append(Up(*arguments, environment=ros_environment))
        return started[-1]

    yield start
    for up in started:
        up.process.kill()
        up.process.wait()


@pytest.mark.ros
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_whole_graph_without_arm_and_simulator(
    start_up: Callable[..., Up], wait_until: Callable[..., None], ros_environment: dict[str, str]
) -> None:
    """Protects: a contract can be tried anywhere, by `swiftvla tell`; a killed policy comes back, Ctrl-C ends all."""
    up = start_up("--loopback")
    wait_until(lambda: re.search(r"\[policy\].* is ready", up.text), "the policy is ready", START_TIMEOUT_S)
    wait_until(lambda: "[trajectory_executor]" in up.text, "the executor speaks", START_TIMEOUT_S)
    refused = subprocess.run([*TELL, ""], check=False, env=ros_environment, capture_output=True, text=True, timeout=60)
    assert (refused.returncode, "REFUSED" in refused.stdout) == (1, True), refused.stdout + refused.stderr
    words = [*TELL, "pick up the red block", "--timeout", "60"]
    telling = subprocess.Popen(words, env=ros_environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: "FRESH: following chunk" in up.text, "the arm follows chunks", START_TIMEOUT_S)
    finally:
        telling.kill()
        telling.wait()
    first = up.child("policy")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: "policy: was killed by SIGKILL" in up.text, "the dead process is named")
    wait_until(lambda: up.child("policy") not in (None, first), "the policy is started again")
    wait_until(lambda: up.text.count("is ready") == 2, "the new policy is ready", START_TIMEOUT_S)
    children = up.children()
    assert len(children) == 6
    os.killpg(up.process.pid, signal.SIGINT)
    assert up.process.wait(timeout=END_TIMEOUT_S) == 0, up.text
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


@pytest.mark.ros
def test_a_missing_checkpoint_is_told_once_and_ends_the_system(start_up: Callable[..., Up], tmp_path: Path) -> None:
    """Protects: the operator reads which folder is wrong, and no half system stays behind."""
    up = start_up("--loopback", "--checkpoint", str(tmp_path / "nowhere"))
    assert up.process.wait(timeout=START_TIMEOUT_S) == 1
    assert f"checkpoint '{tmp_path / 'nowhere'}': no such folder" in up.text
    assert "policy: can't be configured" in up.text
    assert up.text.count("no such folder") == 1
