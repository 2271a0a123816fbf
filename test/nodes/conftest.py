# SPDX-License-Identifier: Apache-2.0
"""The real nodes as processes over real DDS, and a node of the test's own to talk to them."""

import contextlib
import fcntl
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from node_starter import POLL_S, ForkedProcess, NodeStarter

from swiftvla_ros.resources import DEFAULT_CHECKPOINT, model_path

HAS_ROS = importlib.util.find_spec("rclpy") is not None
collect_ignore_glob = [] if HAS_ROS else ["test_*.py", "*/test_*.py"]
# A node process has to import, configure and activate; the policy also loads torch. A busy machine takes its time.
START_TIMEOUT_S = 90.0
END_TIMEOUT_S = 15.0
SHOWN_CHARACTERS = 1500
STARTED = pytest.StashKey[Any]()


def pytest_report_header() -> str:
    """Say which tests are left out."""
    return "" if HAS_ROS else "nodes are not tested: rclpy is not installed: pip install '.[ros]' or source a ROS setup"


@dataclass
class NodeProcess:
    """One node in a process of its own; what it prints is in ``log``."""

    name: str
    process: subprocess.Popen[bytes] | ForkedProcess
    log: Path

    def output(self) -> str:
        """All that it printed so far."""
        return self.log.read_text(errors="replace")

    def wait(self, timeout_s: float = START_TIMEOUT_S) -> int:
        """Exit status."""
        return self.process.wait(timeout_s)

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # faulthandler writes the stacks of all threads into the log.
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(END_TIMEOUT_S)
            pytest.fail(f"{self.name} did not end within {END_TIMEOUT_S:g} s:\n{self.output()}")


@dataclass
class Inbox:
    """Messages of one topic, with their time of receipt (system clock, s)."""

    messages: list[Any] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)

    def __call__(self, message: Any) -> None:
        """Take a message."""
        self.times_s.append(time.time())
        self.messages.append(message)

    @property
    def last(self) -> Any:
        """The newest message, or None."""
        return self.messages[-1] if self.messages else None

    def clear(self) -> None:
        """Forget all messages."""
        self.messages.clear()
        self.times_s.clear()


class Graph:
    """Processes of nodes, and a node in this process that a background thread spins."""

    def __init__(self, folder: Path, wait_until: Callable[..., None], starter: NodeStarter | None = None) -> None:
        import rclpy
        from rclpy.node import Node

        from swiftvla_ros.nodes.ros.executor import NodeExecutor

        rclpy.init()
        self._rclpy = rclpy
        self._folder, self._starter = folder, starter
        self.wait_until = wait_until
        self.processes: list[NodeProcess] = []
        self.node = Node("test")
        self._executor = NodeExecutor()
        self._executor.add_node(self.node)
        self.begin_test()
        self._ending = False
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._ending:
            self._executor.spin_once(timeout_sec=0.05)

    def start(
        self,
        executable: str,
        name: str = "",
        namespace: str = "",
        environment: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> NodeProcess:
        """Start a node; parameters as keywords. ``environment``: on top of this process's, in a cold start."""
        name = name or executable.removesuffix("_node")
        arguments = ["--ros-args", "-r", f"__node:={name}"]
        if namespace:
            arguments += ["-r", f"__ns:=/{namespace}"]
        for key, value in parameters.items():
            arguments += ["-p", f"{key}:={json.dumps(value)}"]
        log = self._folder / f"{name}_{len(self.processes)}.log"
        log.touch()
        process: subprocess.Popen[bytes] | ForkedProcess
        # MuJoCo's OpenGL does not end in a process that was forked.
        if self._starter is not None and environment is None and executable != "sim_robot_node":
            process = self._starter.start(executable, arguments, log, os.environ)
        else:
            command = [sys.executable, "-m", f"swiftvla_ros.nodes.{executable}", *arguments]
            with log.open("wb") as stream:
                process = subprocess.Popen(
                    command, stdout=stream, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
                )
        self.processes.append(NodeProcess(name, process, log))
        return self.processes[-1]

    def listen(self, kind: type, topic: str, qos: Any) -> Inbox:
        """Collect the messages of a topic."""
        inbox = Inbox()
        self.node.create_subscription(kind, topic, inbox, qos)
        return inbox

    def action_client(self, kind: type, name: str) -> Any:
        """Make an action's client, in the thread that spins: rclpy's is seen by an executor before it is whole."""
        from rclpy.action import ActionClient

        return self._in_spinning_thread(lambda: ActionClient(self.node, kind, name), f"the client of {name} is made")

    def _in_spinning_thread(self, do: Callable[[], Any], what: str, timeout_s: float = START_TIMEOUT_S) -> Any:
        done = self._executor.create_task(do)
        self.wait_until(done.done, what, timeout_s)
        return done.result()

    def call(self, kind: type, name: str, request: Any, timeout_s: float = START_TIMEOUT_S) -> Any:
        """Call a service and return its response."""
        client = self.node.create_client(kind, name)
        self.wait_until(client.service_is_ready, f"service {name} is there", timeout_s)
        future = client.call_async(request)
        self.wait_until(future.done, f"service {name} answers", timeout_s)
        self.node.destroy_client(client)
        return future.result()

    def trigger(self, name: str) -> Any:
        """Call a std_srvs/Trigger service."""
        from std_srvs.srv import Trigger

        return self.call(Trigger, name, Trigger.Request())

    def begin_test(self) -> None:
        """Remember what there is before a test."""
        self._before = len(self.processes), set(self.node.timers), set(self.node.publishers)

    def undo_test(self) -> None:
        """Take away what a test added: its processes are asked to end, so that they leave the graph; then killed."""
        first, timers, publishers = self._before
        running = [entry.process for entry in self.processes[first:] if entry.process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + END_TIMEOUT_S
        while any(process.poll() is None for process in running) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        for process in running:
            process.kill()
            process.wait(END_TIMEOUT_S)
        # A node that was killed may have died with a lock of the shared memory, which holds up who writes to it.
        self._in_spinning_thread(lambda: self._destroy_all_but(timers, publishers), "what the test added is gone", 60)

    def _destroy_all_but(self, timers: set[Any], publishers: set[Any]) -> None:
        """In the thread that spins: another one would take a publisher from a timer that is about to use it."""
        for timer in set(self.node.timers) - timers:
            self.node.destroy_timer(timer)
        for publisher in set(self.node.publishers) - publishers:
            self.node.destroy_publisher(publisher)

    def close(self) -> None:
        """End everything that still runs."""
        for entry in self.processes:
            if entry.process.poll() is None:
                entry.process.kill()
                entry.process.wait(END_TIMEOUT_S)
        self._ending = True
        self._thread.join(END_TIMEOUT_S)
        self._executor.shutdown()
        self.node.destroy_node()
        self._rclpy.try_shutdown()
        free_ports(int(os.environ["ROS_DOMAIN_ID"]))
        free_shared_memory()


def free_shared_memory(folder: Path = Path("/dev/shm")) -> None:
    """Free the segments of nodes that were killed, as `fastdds shm clean` does: a living one's lock is held.

    Tests would fill the machine's memory with them. One that was made just now may not be locked yet; another process
    of tests may free it at the same time.
    """
    for lock in folder.glob("fastdds_*_el"):
        segment = lock.with_name(lock.name.removesuffix("_el"))
        if segment.name.startswith("fastdds_port"):
            continue
        with contextlib.suppress(BlockingIOError, FileNotFoundError), lock.open() as file:
            if time.time() - lock.stat().st_mtime < END_TIMEOUT_S:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            segment.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)


def free_ports(domain_id: int, folder: Path = Path("/dev/shm")) -> None:
    """Forget a domain's ports, when no process of it runs: opening one that a killed node left half written can crash.

    (Fast DDS, issue 6501.) Their numbers are those of UDP: OMG DDSI-RTPS, 9.6.2.3.
    """
    first = 7400 + 250 * domain_id
    for path in folder.glob("*fastdds_port*"):
        number = re.search(r"fastdds_port(\d+)", path.name)
        if number is not None and first <= int(number[1]) < first + 250:
            path.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """Return the checkpoint that a system starts with, where none is named."""
    return model_path(DEFAULT_CHECKPOINT)


@pytest.fixture(scope="session")
def starter() -> Iterator[NodeStarter]:
    """What starts the nodes of all files."""
    starter = NodeStarter()
    yield starter
    starter.close()
    free_shared_memory()


@pytest.fixture(scope="module")
def graph(
    tmp_path_factory: pytest.TempPathFactory,
    starter: NodeStarter,
    ros_domain_id: int,
    repository: Path,
    wait_until: Callable[..., None],
) -> Iterator[Graph]:
    """A local graph for the tests of one file."""
    folder = tmp_path_factory.mktemp("graph")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(ros_domain_id))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.setenv("ROS_LOG_DIR", str(folder))
        patch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(repository / "config" / "fastdds_shm.xml"))
        patch.setenv("MUJOCO_GL", os.environ.get("MUJOCO_GL", "egl"))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONUNBUFFERED", "1")
        patch.setenv("PYTHONFAULTHANDLER", "1")
        graph = Graph(folder, wait_until, starter)
        yield graph
        graph.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """Show what the nodes of a failed test printed, and take away what it added: run again, it adds its own.

    Beside the publishers of the first run those of the second would be second ones, which nothing moves for; and a
    service of a node that was killed seems to be there for some seconds more.
    """
    report = yield
    graph = item.stash.get(STARTED, None)
    if report.when == "call" and report.failed and graph is not None:
        for entry in graph.processes:
            report.sections.append((f"printed by {entry.name}", entry.output()[-SHOWN_CHARACTERS:]))
        try:
            graph.undo_test()
        except pytest.fail.Exception as error:
            # Not raised here: outside of a test it would end all tests.
            report.sections.append(("what the test added stays", str(error)))
    return report


@pytest.fixture(autouse=True)
def started(request: pytest.FixtureRequest) -> None:
    """Remember what was there before the test."""
    if "graph" in request.fixturenames:
        graph = request.node.stash[STARTED] = request.getfixturevalue("graph")
        graph.begin_test()


@pytest.fixture(scope="module")
def executor(graph: Graph) -> Iterator[Any]:
    """An executor with forward commands, for all tests of a file that leave it alive."""
    from executor_arm import CONTRACT, Arm
    from std_msgs.msg import Float64MultiArray

    arm = Arm(graph, "so101_sim", Float64MultiArray, CONTRACT.control.topic)
    yield arm
    arm.close()


@pytest.fixture
def arm(executor: Any) -> Iterator[Any]:
    """The file's executor, at rest and idle."""
    executor.states.clear()
    executor.commands.clear()
    yield executor
    executor.idle()


class FakeSensors:
    """Drivers of the test's own: two cameras at 15 Hz and joint states at 50 Hz, with faults to switch on."""

    def __init__(self, graph: Graph, contract: Any) -> None:
        import numpy as np
        from sensor_msgs.msg import Image, JointState

        from swiftvla_ros.nodes.ros import qos

        self._contract = contract
        self._clock = graph.node.get_clock()
        self.position = contract.rest.copy()
        self.joint_order = list(contract.joint_names)
        self.frozen: set[str] = set()
        self.size = {camera.name: camera.source_size for camera in contract.cameras}
        self.joints_on = True
        self._pixels = np.random.default_rng(0).integers(0, 255, (960, 1280, 3), dtype=np.uint8)
        self._cameras = {c.name: graph.node.create_publisher(Image, c.topic, qos.IMAGE) for c in contract.cameras}
        self._joints = graph.node.create_publisher(JointState, contract.joint_states.topic, qos.STATE)
        self._timers = [
            graph.node.create_timer(1 / contract.cameras[0].rate_hz, self._send_images),
            graph.node.create_timer(1 / contract.joint_states.rate_hz, self._send_joints),
        ]

    def _send_images(self) -> None:
        from swiftvla_ros.nodes.ros.messages import rgb_message

        for name, publisher in self._cameras.items():
            if name in self.frozen:
                continue
            width, height = self.size[name]
            now_ns = self._clock.now().nanoseconds
            publisher.publish(rgb_message(self._pixels[:height, :width], now_ns, f"{name}_optical_frame"))

    def _send_joints(self) -> None:
        from sensor_msgs.msg import JointState

        if not self.joints_on:
            return
        driver = dict(zip(self._contract.joint_names, self._contract.from_si(self.position), strict=True))
        message = JointState(name=self.joint_order, position=[float(driver[name]) for name in self.joint_order])
        message.header.stamp = self._clock.now().to_msg()
        self._joints.publish(message)


@pytest.fixture(scope="module")
def sensors(graph: Graph) -> FakeSensors:
    """Sensors of the simulated robot's contract."""
    from swiftvla_ros.contract import load_contract

    return FakeSensors(graph, load_contract("so101_sim"))
