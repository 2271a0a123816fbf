# SPDX-License-Identifier: Apache-2.0
"""The command side of a robot driver: whatever the contract's output is, checked and turned into set-points."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from swiftvla_ros.contract.contract import CommandPart
from swiftvla_ros.nodes.commands.controller_order import ORDERS, orders_of
from swiftvla_ros.nodes.commands.follow_joint_trajectory import FollowServer
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.sim.robots.setpoints import Setpoints, Waypoint

Array = NDArray[np.float64]
Change = Callable[[Setpoints, int], None]
"""What a command does to the set-points of its part, from the given time (ns, the driver's own) on."""

_REPEAT_S = 5.0


class CommandInputs:
    """Takes commands as the controllers of ros2_control would: refuses what is not finite or not for its joints.

    ``take`` is called with the number of the part, as in ``Contract.command_parts``, and what the command does to its
    set-points; ``epoch_ns`` gives the ROS time at which the driver's own time is zero.
    """

    def __init__(
        self, node: ManagedNode[Any], take: Callable[[int, Change], None], epoch_ns: Callable[[], int] = lambda: 0
    ) -> None:
        self._node = node
        self._take = take
        self._epoch_ns = epoch_ns
        self._parts = node.contract.command_parts
        node.declare_parameter(ORDERS, orders_of(self._parts))
        node.own(ORDERS, node.undeclare_parameter)
        for k, part in enumerate(self._parts):
            self._open(k, part)

    @property
    def joints(self) -> tuple[NDArray[np.intp], ...]:
        """The joints of each part."""
        return tuple(part.joints for part in self._parts)

    def _open(self, k: int, part: CommandPart) -> None:
        if part.kind in ("forward_position", "forward_velocity"):
            self._node.subscribe(Float64MultiArray, part.topic, lambda message: self._forward(k, message), qos.COMMAND)
        elif part.kind == "joint_trajectory":
            self._node.subscribe(JointTrajectory, part.topic, lambda message: self._follow(k, message), qos.COMMAND)
        else:
            FollowServer(self._node, part.topic, lambda message: self._follow(k, message))

    def _forward(self, k: int, message: Float64MultiArray) -> None:
        part = self._parts[k]
        values = np.array(message.data)
        if values.shape != part.joints.shape or not np.isfinite(values).all():
            self._refuse(part, f"{values.tolist()} is not {len(part.joints)} finite numbers")
        elif part.kind == "forward_position":
            position = self._si(part, values)
            self._take(k, lambda setpoints, ns: setpoints.forward(ns, position))
        else:
            velocity = values / self._per_si(part)
            self._take(k, lambda setpoints, ns: setpoints.drive(ns, velocity))

    def _follow(self, k: int, message: Any) -> bool:
        """Follow a trajectory; False where it is refused."""
        part = self._parts[k]
        names = list(message.joint_names)
        if sorted(names) != sorted(part.names):
            return self._refuse(part, f"joints {names}, expected {list(part.names)}")
        order = [names.index(name) for name in part.names]
        try:
            positions = np.array([point.positions for point in message.points])[:, order]
            given = all(len(point.velocities) == len(order) for point in message.points)
            velocities = np.array([point.velocities for point in message.points])[:, order] if given else None
        except (ValueError, IndexError):
            return self._refuse(part, "points are missing, or do not have one position a joint")
        if not np.isfinite(positions).all() or (velocities is not None and not np.isfinite(velocities).all()):
            return self._refuse(part, "a point is not finite")
        offsets_ns = [stamp_ns(p.time_from_start) for p in message.points]
        if any(b <= a for a, b in pairwise(offsets_ns)):
            return self._refuse(part, "the points' times do not rise")
        positions = self._si(part, positions)
        velocities = None if velocities is None else velocities / self._per_si(part)
        stamp = stamp_ns(message.header.stamp)

        def change(setpoints: Setpoints, now_ns: int) -> None:
            begin_ns = stamp - self._epoch_ns() if stamp else now_ns
            rows = velocities if velocities is not None else [None] * len(positions)
            points = zip(offsets_ns, positions, rows, strict=True)
            setpoints.follow(now_ns, [Waypoint(begin_ns + ns, q, v) for ns, q, v in points])

        self._take(k, change)
        return True

    def _si(self, part: CommandPart, values: Array) -> Array:
        """Driver units [..., joints of the part] → rad and m."""
        whole = np.zeros((*values.shape[:-1], len(self._node.contract.joints)))
        whole[..., part.joints] = values
        return self._node.contract.to_si(whole)[..., part.joints]

    def _per_si(self, part: CommandPart) -> Array:
        """Driver units in a rad or m, for the joints of the part."""
        return self._node.contract.velocity_from_si(np.ones(len(self._node.contract.joints)))[part.joints]

    def _refuse(self, part: CommandPart, problem: str) -> bool:
        self._node.get_logger().error(f"command on {part.topic} refused: {problem}", throttle_duration_sec=_REPEAT_S)
        return False
