# SPDX-License-Identifier: Apache-2.0
"""The real nodes up to the policy, as ``swiftvla up`` starts them, and this process as the drivers of their cameras."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image, JointState

from swiftvla_ros.bringup.processes import describe, transport_environment
from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.contract import load_contract
from swiftvla_ros.msg import ActionChunk
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import rgb_message
from swiftvla_ros.srv import SetInstruction

_START_S = 120.0


class LivePolicy:
    """Drivers that stamp each image just before it is published, and the chunks that come of it, in one thread."""

    # By how much the second camera is later than the first, s.
    apart_s = 0.0

    def __init__(self) -> None:
        self.contract = load_contract("so101_sim")
        self.node = rclpy.create_node("benchmark")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._pictures = np.random.default_rng(0).integers(0, 255, (8, 480, 640, 3), dtype=np.uint8)
        self._ticks = 0
        self._cameras = {c.name: self.node.create_publisher(Image, c.topic, qos.IMAGE) for c in self.contract.cameras}
        self._joints = self.node.create_publisher(JointState, self.contract.joint_states.topic, qos.STATE)
        for number, camera in enumerate(self._cameras):
            time.sleep(number * self.apart_s)
            self.node.create_timer(1 / self.contract.cameras[0].rate_hz, partial(self._send_image, camera))
        self.node.create_timer(1 / self.contract.joint_states.rate_hz, self._send_joints)
        self.node.create_subscription(ActionChunk, "action_chunk", self.take_chunk, qos.CHUNK)

    @classmethod
    @contextmanager
    def started(
        cls, checkpoint: str, *more: tuple[Sequence[str], dict[str, str]], policy: Sequence[str] = ()
    ) -> Iterator[Any]:
        """Start all but the executor, and ``more`` processes (command and environment); end them at the end.

        ``policy``: how Python is told to run the policy node, if not by its module.
        """
        os.environ.update(transport_environment())
        rclpy.init()
        live = cls()
        wanted = [p for p in describe(SystemOptions(checkpoint=checkpoint)) if p.name != "trajectory_executor"]
        commands = [*((p.command(), p.environment) for p in wanted), *more]
        if policy:
            node = next(k for k, p in enumerate(wanted) if p.name == "policy")
            (python, _, _, *arguments), own = commands[node]
            commands[node] = [python, *policy, *arguments], own
        running = [subprocess.Popen(command, env={**os.environ, **own}) for command, own in commands]
        try:
            yield live
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()
            live._executor.shutdown()
            rclpy.try_shutdown()

    def take_chunk(self, chunk: ActionChunk) -> None:
        """Take a chunk."""

    def spin(self, seconds: float) -> None:
        """Be the drivers for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._executor.spin_once(timeout_sec=0.05)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Call a service, wherever its node is with starting."""
        client = self.node.create_client(kind, name)
        deadline = time.monotonic() + _START_S
        while not client.service_is_ready():
            self.spin(0.1)
            if time.monotonic() > deadline:
                sys.exit(f"service {name} is not there")
        future = client.call_async(request)
        while not future.done():
            self.spin(0.05)
            if time.monotonic() > deadline:
                sys.exit(f"service {name} does not answer")
        self.node.destroy_client(client)
        return future.result()

    def instruct(self, settle_s: float) -> None:
        """Give the policy work, and let the first chunks go by."""
        self.call(SetInstruction, "set_instruction", SetInstruction.Request(instruction="pick up the red block"))
        self.spin(settle_s)

    def _send_image(self, camera: str) -> None:
        self._ticks += 1
        picture = self._pictures[self._ticks % len(self._pictures)]
        now_ns = self.node.get_clock().now().nanoseconds
        self._cameras[camera].publish(rgb_message(picture, now_ns, f"{camera}_optical_frame"))

    def _send_joints(self) -> None:
        driver = self.contract.from_si(self.contract.rest).tolist()
        message = JointState(name=list(self.contract.joint_names), position=driver)
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._joints.publish(message)
