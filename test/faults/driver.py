# SPDX-License-Identifier: Apache-2.0
"""A robot driver of the tests' own: cameras, joint states, an arm that follows commands, and faults to switch on."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from swiftvla_ros.contract import Contract
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import header, rgb_message, to_time
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.sim.robots.setpoints import Setpoints, Waypoint

_NS = 1_000_000_000
_CLOCK_HZ = 125.0
# The pictures scroll by so many pixels a frame: the policy sees something else each time and keeps the arm moving.
_SCROLL_PX = 16
_BLOCK_PX = 40
_GLITCH_EVERY = 60


class Driver:
    """Publishes what the contract says and follows its forward commands, or joint trajectories on a topic of their own.

    Attributes
    ----------
    dead, frozen, repeated, late_s, size
        Cameras that publish nothing; that repeat picture and stamp; that repeat the picture alone; delay of all images;
        [w, h] of a wrong size.
    joints
        Joint states: ``fine``, ``dead``, ``nan``, ``permuted``, ``disorder`` (each second one after the next) or
        ``glitch`` (zeros, as after a failed read, every ``_GLITCH_EVERY``).
    deaf
        Commands are ignored.
    still
        Nothing moves in the scene but the arm: while it rests, the pictures are alike.
    offset_s
        How far the stamps of all that is published lie ahead of the robot's time.
    jumped_ns
        How far the robot's clock was set away from the system's.
    """

    def __init__(self, node: Any, contract: Contract, trajectory_topic: str) -> None:
        self._contract = contract
        self._setpoints = Setpoints(contract.rest)
        self._world = np.kron(
            np.random.default_rng(0).integers(0, 255, (12, 80, 3), dtype=np.uint8), np.ones((_BLOCK_PX, _BLOCK_PX, 1))
        ).astype(np.uint8)
        self._frame = self._sent = 0
        self._scrolled: dict[str, int] = {}
        self._on_the_way: deque[tuple[int, str, Image]] = deque()
        self._last_image: dict[str, Image] = {}
        self._held: JointState | None = None
        self.jumped_ns = 0
        self.heal()
        self.track: list[tuple[int, NDArray[np.float64]]] = []
        self._cameras = {c.name: node.create_publisher(Image, c.topic, qos.IMAGE) for c in contract.cameras}
        self._joints = node.create_publisher(JointState, contract.joint_states.topic, qos.STATE)
        self._clock = node.create_publisher(Clock, "/clock", qos.CLOCK)
        node.create_subscription(Float64MultiArray, contract.control.topic, self._forward, qos.COMMAND)
        node.create_subscription(JointTrajectory, trajectory_topic, self._follow, qos.COMMAND)
        node.create_timer(1 / contract.cameras[0].rate_hz, self._send_images)
        node.create_timer(1 / contract.joint_states.rate_hz, self._send_joints)
        node.create_timer(1 / _CLOCK_HZ, self._send_clock)

    def heal(self) -> None:
        """Take all faults away; the clock stays where it was set."""
        self.dead: set[str] = set()
        self.frozen: set[str] = set()
        self.repeated: set[str] = set()
        self.late_s = 0.0
        self.size: tuple[int, int] | None = None
        self.joints = "fine"
        self.deaf = self.still = False
        self.offset_s = 0.0
        self.clock_on = getattr(self, "clock_on", False)

    def now_ns(self) -> int:
        """The robot's time."""
        return time.time_ns() + self.jumped_ns

    def stamp_ns(self) -> int:
        """What is stamped now."""
        return self.now_ns() + round(self.offset_s * _NS)

    def rests_since_ns(self) -> int:
        """Time, on the system's clock, since which the arm has not moved."""
        track = list(self.track)
        for earlier, later in zip(track[-2::-1], track[::-1], strict=False):
            if (earlier[1] != later[1]).any():
                return later[0]
        return track[0][0]

    def _send_images(self) -> None:
        now_ns = self.stamp_ns()
        self._frame += 1
        seen = round(1000 * float(np.abs(self.track[-1][1]).sum())) if self.still and self.track else self._frame
        for name, publisher in self._cameras.items():
            if name in self.dead:
                continue
            if name in self.frozen:
                publisher.publish(self._last_image[name])
                continue
            width, height = self.size or self._contract.camera(name).source_size
            if name not in self.repeated:
                self._scrolled[name] = seen
            left = self._scrolled[name] * _SCROLL_PX % (self._world.shape[1] - width)
            image = rgb_message(self._world[:height, left : left + width], now_ns, f"{name}_optical_frame")
            # on a clock that never jumps
            self._on_the_way.append((time.monotonic_ns(), name, image))
        due_ns = time.monotonic_ns() - round(self.late_s * _NS)
        while self._on_the_way and self._on_the_way[0][0] <= due_ns:
            _, name, image = self._on_the_way.popleft()
            self._last_image[name] = image
            self._cameras[name].publish(image)

    def _send_joints(self) -> None:
        now_ns = time.time_ns()
        position = self._setpoints.at(now_ns)
        self.track.append((now_ns, position))
        if self.joints == "dead":
            return
        names = list(self._contract.joint_names)
        values = self._contract.from_si(position).tolist()
        if self.joints == "nan":
            values[1] = math.nan
        self._sent += 1
        if self.joints == "glitch" and self._sent % _GLITCH_EVERY == 0:
            values = [0.0] * len(values)
        if self.joints == "permuted":
            names, values = names[::-1], values[::-1]
        message = JointState(header=header(self.stamp_ns()), name=names, position=values)
        if self.joints == "disorder" and self._held is None:
            self._held = message
            return
        self._joints.publish(message)
        if self._held is not None:
            self._joints.publish(self._held)
            self._held = None

    def _send_clock(self) -> None:
        if self.clock_on:
            self._clock.publish(Clock(clock=to_time(self.now_ns())))

    def _forward(self, message: Float64MultiArray) -> None:
        if not self.deaf:
            self._setpoints.forward(time.time_ns(), self._contract.to_si(np.array(message.data)))

    def _follow(self, message: JointTrajectory) -> None:
        if self.deaf:
            return
        scale = self._contract.velocity_from_si(np.ones(len(self._contract.joints)))
        begins_ns = stamp_ns(message.header.stamp) - self.jumped_ns
        points = [
            Waypoint(
                begins_ns + point.time_from_start.sec * _NS + point.time_from_start.nanosec,
                self._contract.to_si(np.array(point.positions)),
                np.array(point.velocities) / scale,
            )
            for point in message.points
        ]
        self._setpoints.follow(time.time_ns(), points)
