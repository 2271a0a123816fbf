# SPDX-License-Identifier: Apache-2.0
"""The executor's commands as the messages that robot drivers take: one output per kind, chosen by the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.contract import CommandPart
from swiftvla_ros.motion import Command, brake_trajectory
from swiftvla_ros.nodes.commands.follow_joint_trajectory import FollowClient
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.messages import doubles, set_time

Array = NDArray[np.float64]

GOAL_PERIOD_S = 0.05
"""A FollowJointTrajectory goal goes out this often; commands reach the arm by as much later, and ``GOAL_LEAD_S``."""

GOAL_LEAD_S = 0.03
"""What a goal may take to reach the controller before its first point is due."""

# Commands further apart than this are not of one motion.
_GAP_NS = 100_000_000


class ContractOutputs:
    """The outputs of a node's contract: the arm's, and the gripper's where it has a topic of its own."""

    def __init__(self, node: ManagedNode[Any]) -> None:
        parts = node.contract.command_parts
        self._node = node
        self._topics = [part.topic for part in parts if part.kind != "follow_joint_trajectory"]
        self._outputs = [_output(node, part) for part in parts]

    def rivals(self) -> list[str]:
        """The topics on which somebody else publishes commands, too: the arm gets two masters' orders in turns."""
        return [topic for topic in self._topics if self._node.count_publishers(topic) > 1]

    def send(self, command: Command, now_ns: int) -> None:
        """Send the command of one tick to every output."""
        for output in self._outputs:
            output.send(command, now_ns)


def _output(node: ManagedNode[Any], part: CommandPart) -> ForwardPositions | Trajectories:
    if part.kind == "follow_joint_trajectory":
        return output_of(node.contract, part, FollowClient(node, part.topic).send)
    message = JointTrajectory if part.kind == "joint_trajectory" else Float64MultiArray
    return output_of(node.contract, part, node.publisher(message, part.topic, qos.COMMAND).publish)


def output_of(contract: Contract, part: CommandPart, send: Callable[[Any], None]) -> ForwardPositions | Trajectories:
    """What makes the messages of a part's kind, and has them sent."""
    kinds: dict[str, type[ForwardPositions | Trajectories]] = {
        "forward_position": ForwardPositions,
        "forward_velocity": ForwardVelocities,
        "joint_trajectory": Trajectories,
        "follow_joint_trajectory": FollowGoals,
    }
    return kinds[part.kind](contract, part, send)


class ForwardPositions:
    """Positions in the driver's units, as forward_command_controller takes them."""

    def __init__(self, contract: Contract, part: CommandPart, publish: Callable[[Any], None]) -> None:
        self._contract = contract
        self._joints = part.joints
        self._publish = publish
        # One message for all ticks: making one anew costs more than filling it in.
        self._message = Float64MultiArray()

    def send(self, command: Command, _now_ns: int) -> None:
        """Publish the positions."""
        self._message.data = doubles(self._contract.from_si(command.position)[self._joints])
        self._publish(self._message)


class ForwardVelocities(ForwardPositions):
    """Velocities in the driver's units per second.

    An open loop: what a drive makes wrong adds up until the executor's tracking watch stops it. A driver that goes on
    with the last velocity when commands end needs a timeout of its own.
    """

    def send(self, command: Command, _now_ns: int) -> None:
        """Publish the velocities."""
        self._message.data = doubles(self._contract.velocity_from_si(command.velocity)[self._joints])
        self._publish(self._message)


class Trajectories:
    """A JointTrajectory each tick: the command, and after it the stop that follows should no other message come.

    joint_trajectory_controller wants strictly rising times and rest at the last point; with the contract's
    ``trajectory_ends_at_rest: false`` the command alone is sent, and its velocity.
    """

    def __init__(self, contract: Contract, part: CommandPart, publish: Callable[[Any], None]) -> None:
        self._contract = contract
        self._part = part
        self._publish = publish
        self._tick_s = 1.0 / contract.control.rate_hz
        self._ends_at_rest = contract.control.trajectory_ends_at_rest
        # One message and its points for all ticks: making them anew costs more than filling them in.
        self._message = JointTrajectory(joint_names=list(part.names))
        self._points: list[JointTrajectoryPoint] = []

    def send(self, command: Command, now_ns: int) -> None:
        """Publish the trajectory; the command is reached one tick from now, when the next message takes over."""
        self._send(now_ns, [self._tick_s], [command], stops=self._ends_at_rest and _moves(command))

    def _send(self, stamp_ns: int, times_s: list[float], commands: list[Command], *, stops: bool) -> None:
        """Send the commands at their times after the stamp, and behind them the last one's stop."""
        joints = self._part.joints
        positions, velocities = ([c.position[joints] for c in commands], [c.velocity[joints] for c in commands])
        if stops:
            stop = brake_trajectory(commands[-1], self._contract.limits, joints=joints)
            times_s = [*times_s, *(times_s[-1] + stop.times_s).tolist()]
            positions, velocities = [*positions, *stop.positions], [*velocities, *stop.velocities]
        self._points += [JointTrajectoryPoint() for _ in range(len(times_s) - len(self._points))]
        points = self._points[: len(times_s)]
        rows = (
            self._contract.from_si(np.array(positions), joints),
            self._contract.velocity_from_si(np.array(velocities), joints),
        )
        for point, time_s, position, velocity in zip(points, times_s, *rows, strict=True):
            point.positions, point.velocities = doubles(position), doubles(velocity)
            set_time(point.time_from_start, round(time_s * 1e9))
        set_time(self._message.header.stamp, stamp_ns)
        self._message.points = points
        self._publish(self._message)


class FollowGoals(Trajectories):
    """A FollowJointTrajectory goal each ``GOAL_PERIOD_S``: the commands since the last one, then the stop.

    A goal costs more than a message, so commands are collected, and all of them reach the arm by ``GOAL_PERIOD_S`` and
    ``GOAL_LEAD_S`` later, with the times between them unchanged: a goal takes over where the one before has its last
    command, so nothing is lost of limits and smoothness. At rest nothing is sent.
    """

    def __init__(self, contract: Contract, part: CommandPart, publish: Callable[[Any], None]) -> None:
        super().__init__(contract, part, publish)
        self._collected: list[Command] = []
        self._told: Array | None = None

    def send(self, command: Command, _now_ns: int) -> None:
        """Collect the command, and send a goal when one is due or the arm rests."""
        if self._collected and not 0 < command.stamp_ns - self._collected[-1].stamp_ns < _GAP_NS:
            self._collected.clear()
        moves = _moves(command)
        if not moves and self._told is not None and np.array_equal(command.position, self._told):
            return
        self._collected.append(command)
        begin_ns = self._collected[0].stamp_ns
        if moves and command.stamp_ns - begin_ns < round((GOAL_PERIOD_S - self._tick_s) * 1e9):
            return
        times_s = [self._tick_s + (c.stamp_ns - begin_ns) / 1e9 for c in self._collected]
        stamp_ns = begin_ns + round((GOAL_PERIOD_S + GOAL_LEAD_S - self._tick_s) * 1e9)
        self._send(stamp_ns, times_s, self._collected, stops=moves)
        self._told = None if moves else command.position
        self._collected.clear()


def _moves(command: Command) -> bool:
    return bool(command.velocity.any() or command.acceleration.any())
