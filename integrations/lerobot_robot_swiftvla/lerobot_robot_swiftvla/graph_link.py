# SPDX-License-Identifier: Apache-2.0
"""The ROS side: observations in, the leader's poses out. Of messages only those of ROS itself are used."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger

from swiftvla_ros.contract import Contract
from swiftvla_ros.errors import UserError
from swiftvla_ros.log_folder import provide_log_folder
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import leader_state
from swiftvla_ros.observation.image_decoding import ImageDecodingError, conditioned_image
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.message_fields import measured_positions, stamp_ns

Array = NDArray[np.float64]

_SERVICE_S = 10.0
_ENGAGE_S, _SEEN_S, _DISCOVERED_S = 2.0, 2.0, 1.5
# A leader that is silent for the contract's policy.max_state_age_s leads no more; so it is never silent for half of it.
_REPEATED_AT = 0.5
_LOOK_S = 0.02
# The leader's pose is told so often while it moves, and goes on by no more than it does in the longer time.
_SAY_S, _LONGEST_STEP_S = 0.02, 0.05


class RobotLinkError(UserError, RuntimeError):
    """The system is not there, or does not follow; the message names what is missing and what to do."""


@dataclass(frozen=True)
class Seen:
    """The newest picture of each camera [h, w, 3] and the newest pose [J], rad or m."""

    images: dict[str, NDArray[np.uint8]]
    pose: Array


class GraphLink:
    """A node in the running system that leads its arm as a leader arm would; calls come from one thread.

    Raises RobotLinkError where the system isn't there within ``connect_s``, or something else leads the arm.
    """

    def __init__(self, contract: Contract, namespace: str, connect_s: float, hold_s: float) -> None:
        self._contract, self._hold_s = contract, hold_s
        self._lock = threading.Lock()
        self._images: dict[str, tuple[float, NDArray[np.uint8]]] = {}
        self._pose: tuple[float, Array] | None = None
        self._target = self._said = contract.rest
        self._wanted_s = self._sent_s = 0.0
        self._held = self._refused = ""
        self._leads = False
        self._engaged_ns = 0
        provide_log_folder()
        # A context of its own: what else in this process uses ROS is left alone.
        self._context = Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("lerobot_robot", namespace=namespace, context=self._context)
        node = self._node
        for camera in contract.camera_names:
            take = partial(self._take_image, camera)
            node.create_subscription(Image, f"observation/{camera}", take, qos.CAMERA_INPUT)
        node.create_subscription(JointState, "observation/state", self._take_state, qos.STATE_INPUT)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._take_diagnostics, qos.DIAGNOSTICS)
        self._leader = node.create_publisher(JointState, contract.leader.topic, qos.STATE)
        self._buttons = {name: node.create_client(Trigger, f"teleop/{name}") for name in ("engage", "release")}
        node.create_timer(_SAY_S, self._go_on)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._executor.spin, name="lerobot_robot", daemon=True)
        self._thread.start()
        try:
            self._await(connect_s)
        except RobotLinkError:
            self.close()
            raise

    def seen(self) -> Seen:
        """What the system sees now; RobotLinkError where something stays older than the contract allows."""
        if not _wait(lambda: not self._old(), _SEEN_S):
            why = f" ({self._refused})" if self._refused else ""
            raise RobotLinkError(
                f"nothing new on {', '.join(self._old())}{why}; look at their drivers: swiftvla preflight"
            )
        with self._lock:
            assert self._pose is not None
            return Seen({name: image for name, (_, image) in self._images.items()}, self._pose[1])

    def _old(self) -> list[str]:
        """The topics whose newest message is too old, or isn't there."""
        timing, now = self._contract.policy, time.monotonic()
        with self._lock:
            came = {f"observation/{name}": entry[0] for name, entry in self._images.items()}
            pose = -np.inf if self._pose is None else self._pose[0]
        cameras = [f"observation/{name}" for name in self._contract.camera_names]
        old = [topic for topic in cameras if now - came.get(topic, -np.inf) > timing.max_image_age_s]
        return old + (["observation/state"] if now - pose > timing.max_state_age_s else [])

    def lead(self, target: Array) -> None:
        """Lead the arm to a pose [J], rad or m, from the first on; raises RobotLinkError where it holds."""
        with self._lock:
            self._target, self._wanted_s = target, time.monotonic()
            held = self._held if self._leads else ""
            if not self._leads:
                self._said = target  # a far one is approached slowly, once it leads
            self._say()
        if held:
            raise RobotLinkError(f"the arm holds: {held}")
        if not self._leads:
            self._engage()

    def _engage(self) -> None:
        """Lead from now on. The pose travels on another way than this question, and may come later."""
        problem: list[RobotLinkError] = []

        def engaged() -> bool:
            try:
                self._press("engage")
            except RobotLinkError as error:
                problem[:] = [error]
                return False
            return True

        self._leads = True
        if not _wait(engaged, _ENGAGE_S):
            self._leads = False
            raise problem[0]
        with self._lock:
            self._engaged_ns, self._held = self._node.get_clock().now().nanoseconds, ""

    def close(self) -> None:
        """Let the arm go on without this process: it holds, or a policy that runs has it again."""
        if self._leads:
            self._leads = False
            try:
                self._press("release")
            finally:
                self._end()
        else:
            self._end()

    def _end(self) -> None:
        self._executor.shutdown()
        self._thread.join(_SERVICE_S)
        self._node.destroy_node()
        self._context.try_shutdown()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _take_image(self, camera: str, message: Any) -> None:
        try:
            image = conditioned_image(message, self._contract.camera(camera).size)
        except ImageDecodingError as error:
            self._refused = f"observation/{camera}: {error}"
            return
        with self._lock:
            self._images[camera] = time.monotonic(), image

    def _take_state(self, message: Any) -> None:
        try:
            pose = measured_positions(message, self._contract.joint_names)
        except JointStateError as error:
            self._refused = str(error)
            return
        with self._lock:
            self._pose = time.monotonic(), pose

    def _take_diagnostics(self, message: Any) -> None:
        """What teleop_node says of itself once a second: whether the arm holds, and why."""
        name = self._node.resolve_topic_name("teleop")
        if stamp_ns(message.header.stamp) < self._engaged_ns:
            return  # of an engagement before this one
        for status in message.status:
            if status.name == name:
                held = any(value.key == "phase" and value.value == "HELD" for value in status.values)
                with self._lock:
                    self._held = status.message if held else ""

    def _go_on(self) -> None:
        """Go on towards the target; say it again before the leader counts as silent, while LeRobot is given time."""
        with self._lock:
            if not self._leads:
                return
            now = time.monotonic()
            silent = now - self._sent_s > _REPEATED_AT * self._contract.policy.max_state_age_s
            if (self._said != self._target).any() or (silent and now - self._wanted_s < self._hold_s):
                self._say()

    def _say(self) -> None:
        """Publish the leader's pose, which goes to the target as fast as the arm may; the lock is held.

        A policy's actions are steps, such as an open gripper after a closed one; a leader that jumps is a broken one.
        """
        now = time.monotonic()
        step = self._contract.limits.max_velocity * min(now - self._sent_s, _LONGEST_STEP_S)
        self._said, self._sent_s = np.clip(self._target, self._said - step, self._said + step), now
        self._leader.publish(leader_state(self._contract, self._node.get_clock().now().nanoseconds, self._said))

    # -- waiting -------------------------------------------------------------------------------------------------------

    def _await(self, connect_s: float) -> None:
        def missing() -> list[str]:
            there = all(client.service_is_ready() for client in self._buttons.values())
            return self._old() + ([] if there else ["teleop_node"])

        if not _wait(lambda: not missing(), connect_s):
            raise RobotLinkError(
                f"not there after {connect_s:g} s: {', '.join(missing())}; start the system with "
                f"`swiftvla up --robot {self._contract.robot} --teleop leader`, in this ROS domain and namespace"
            )
        topic = self._contract.leader.topic
        # Another one may be seen a little later than the rest.
        if _wait(lambda: self._node.count_publishers(topic) > 1, _DISCOVERED_S):
            raise RobotLinkError(f"{topic}: another leader publishes there, too; end it, two would pull at one arm")

    def _press(self, button: str) -> None:
        client = self._buttons[button]
        future = client.call_async(Trigger.Request())
        if not _wait(future.done, _SERVICE_S):
            raise RobotLinkError(f"{client.srv_name} does not answer; is teleop_node still there?")
        answer = future.result()
        if not answer.success:
            raise RobotLinkError(f"{client.srv_name}: {answer.message}")


def _wait(condition: Callable[[], Any], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True
