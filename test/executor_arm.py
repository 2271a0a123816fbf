# SPDX-License-Identifier: Apache-2.0
"""An executor as a process, with an arm and a policy to try it on; shared by the tests of its node."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sensor_msgs.msg import JointState

from swiftvla_ros.contract import load_contract
from swiftvla_ros.motion import check_limits
from swiftvla_ros.msg import ActionChunk, ExecutorState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.executor import NodeExecutor
from swiftvla_ros.nodes.ros.messages import header, to_duration
from swiftvla_ros.observation.message_fields import stamp_ns

CONTRACT = load_contract("so101_sim")
ROWS = 10
STEP_NS = round(CONTRACT.policy.step_s * 1e9)


def check_commands(states: list[ExecutorState]) -> None:
    """Hold commanded positions, one after the other, to the contract's limits."""
    report = check_limits(
        np.array([stamp_ns(s.header.stamp) for s in states]),
        np.array([s.commanded_position for s in states]),
        CONTRACT.limits,
        CONTRACT.joint_names,
        tick_s=1 / CONTRACT.control.rate_hz,
    )
    assert report.ok, report.violations()


@contextmanager
def spinning(node: Any) -> Iterator[Any]:
    """Another node of the test's, spun by a thread of its own; destroyed afterwards."""
    executor = NodeExecutor()
    executor.add_node(node)
    over = threading.Event()

    def spin() -> None:
        while not over.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield node
    finally:
        over.set()
        thread.join()
        executor.shutdown()
        node.destroy_node()


class Arm:
    """An arm that is where it was commanded to be, and a policy that sweeps one joint while ``sending``.

    It waits until the executor is in one of ``modes``.
    """

    def __init__(
        self,
        graph: Any,
        robot: str,
        command: type,
        topic: str,
        *,
        namespace: str = "",
        modes: tuple[int, ...] = (ExecutorState.IDLE,),
        **parameters: Any,
    ) -> None:
        self.graph = graph
        self.position = CONTRACT.rest.copy()
        self.sending = threading.Event()
        self.nan = False
        self.broken_state = False
        self.follows = True
        self.chunk_id = 0
        self.begin_ns: int | None = None
        self.process = graph.start("trajectory_executor_node", namespace=namespace, robot=robot, **parameters)
        inside = f"/{namespace}/" if namespace else "/"
        self.commands = graph.listen(command, topic, qos.COMMAND)
        self.states = graph.listen(ExecutorState, f"{inside}executor_state", qos.EXECUTOR_STATE)
        self._chunks = graph.node.create_publisher(ActionChunk, f"{inside}action_chunk", qos.CHUNK)
        self._joints = graph.node.create_publisher(JointState, f"{inside}observation/state", qos.STATE)
        self._timers = [graph.node.create_timer(0.02, self._measure), graph.node.create_timer(0.066, self._predict)]
        graph.wait_until(lambda: self.mode in modes, "the executor is there", 90)

    @property
    def mode(self) -> int | None:
        """Mode in the newest executor_state."""
        return self.states.last.mode if self.states.messages else None

    def now_ns(self) -> int:
        """ROS time."""
        return int(self.graph.node.get_clock().now().nanoseconds)

    def _measure(self) -> None:
        if self.follows and self.states.messages and len(self.states.last.commanded_position):
            self.position = np.array(self.states.last.commanded_position)
        names = list(CONTRACT.joint_names)
        position = (self.position * math.nan if self.broken_state else self.position).tolist()
        self._joints.publish(JointState(header=header(self.now_ns()), name=names, position=position))

    def _predict(self) -> None:
        if self.sending.is_set():
            self.send(self.now_ns() - 30_000_000)

    def send(self, ns: int, *, offset: float = 0.0, joints: list[str] | None = None) -> None:
        """Publish a chunk of a slow sweep of the first joint, observed at ``ns``."""
        if self.begin_ns is None:
            self.begin_ns = ns
        self.chunk_id += 1
        times_s = (ns - self.begin_ns + STEP_NS * np.arange(ROWS)) / 1e9
        rows = np.tile(CONTRACT.rest, (ROWS, 1))
        rows[:, 0] += 0.6 * np.sin(1.5 * times_s) + offset
        if self.nan:
            rows[3, 1] = math.nan
        chunk = ActionChunk(header=header(ns), step=to_duration(STEP_NS), rows=ROWS, chunk_id=self.chunk_id)
        chunk.joint_names = list(CONTRACT.joint_names) if joints is None else joints
        chunk.positions = rows.ravel().tolist()
        self._chunks.publish(chunk)

    def move(self) -> None:
        """Send chunks and wait until the arm moves at some speed."""
        self.sending.set()
        self.graph.wait_until(self.moves, "the arm moves")

    def moves(self) -> bool:
        """Whether the last two commanded positions differ by more than a creep."""
        recent = [s for s in self.states.messages[-2:] if len(s.commanded_position)]
        if len(recent) < 2:
            return False
        dt = (stamp_ns(recent[1].header.stamp) - stamp_ns(recent[0].header.stamp)) / 1e9
        step = np.abs(np.array(recent[1].commanded_position) - np.array(recent[0].commanded_position)).max()
        return bool(dt > 0 and step / dt > 0.4)

    def settle(self, mode: int) -> None:
        """Wait for a mode."""
        self.graph.wait_until(lambda: self.mode == mode, f"mode {mode}")

    def check_limits(self) -> None:
        """No commanded position since the last rest left a limit or jumped."""
        ticks = [s for s in self.states.messages if len(s.commanded_position)]
        check_commands(ticks)

    def idle(self) -> None:
        """Come to rest and begin anew."""
        self.sending.clear()
        self.nan = False
        self.graph.wait_until(lambda: self.graph.trigger("trajectory_executor/reset").success, "reset at rest")
        self.settle(ExecutorState.IDLE)
        self.position = CONTRACT.rest.copy()
        self.begin_ns = None
        self.states.clear()
        self.commands.clear()

    def close(self) -> None:
        """Stop sending and end the process."""
        self.sending.clear()
        for timer in self._timers:
            self.graph.node.destroy_timer(timer)
        if self.process.process.poll() is None:
            self.process.end()
