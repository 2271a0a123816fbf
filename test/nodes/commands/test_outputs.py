# SPDX-License-Identifier: Apache-2.0
"""Commands as messages of every output, against what the controllers of ros2_control check and do."""

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swiftvla_ros.contract import Contract, contract_from_text, load_contract
from swiftvla_ros.motion import ChunkExecutor, Command, JointChunk, check_limits
from swiftvla_ros.nodes.commands.outputs import FollowGoals, ForwardPositions, ForwardVelocities, Trajectories
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.sim.robots.setpoints import Setpoints, Waypoint

NS = 1_000_000_000
BASE = load_contract("so101_sim")


def contract(**changes: str) -> Contract:
    """Make the simulated arm's contract with parts of its text replaced."""
    text = BASE.text
    for old, new in {"output: forward_position": "output: forward_position", **changes}.items():
        assert old in text, old
        text = text.replace(old, new)
    return contract_from_text(text, Path(BASE.path))


def sweep(robot: Contract, seconds: float = 1.5) -> list[Command]:
    """Let an executor follow chunks of a sweep, and stop: the command of each tick, from rest to rest."""
    executor = ChunkExecutor.from_contract(robot)
    step_ns, tick_ns, commands = 100_000_000, round(NS / robot.control.rate_hz), []
    for k in range(round((seconds + 2.0) * robot.control.rate_hz)):
        now_ns = NS + k * tick_ns
        executor.measured(commands[-1].position if commands else robot.rest, now_ns)
        if k % 10 == 0 and k * tick_ns < seconds * NS:
            times = k * tick_ns / NS + 0.1 * np.arange(10)
            rows = np.tile(robot.rest, (10, 1))
            rows[:, 0] += 0.5 * np.sin(1.5 * times)
            assert executor.offer(JointChunk(now_ns, step_ns, rows, chunk_id=k + 1), now_ns).accepted
        command = executor.tick(now_ns)
        if command is not None:
            commands.append(command)
    assert not commands[-1].velocity.any()
    return commands


def times_s(message: Any) -> list[float]:
    """When the points are to be reached, after the message's stamp."""
    return [p.time_from_start.sec + p.time_from_start.nanosec / 1e9 for p in message.points]


def accepted_by_controller(message: Any, *, at_rest: bool = True) -> None:
    """What joint_trajectory_controller checks of a message, and that all is finite, which it does not check."""
    times = times_s(message)
    assert times[0] > 0
    assert all(b > a for a, b in pairwise(times))
    for point in message.points:
        assert len(point.positions) == len(point.velocities) == len(message.joint_names)
        assert np.isfinite(point.positions).all()
        assert np.isfinite(point.velocities).all()
    assert not at_rest or not any(message.points[-1].velocities)


def test_forward_positions_and_velocities_are_in_the_drivers_units() -> None:
    """A degree stays a degree, per second too; a velocity has no offset."""
    robot = contract(**{"name: shoulder_pan, unit: rad": "name: shoulder_pan, unit: deg"})
    (part,) = robot.command_parts
    command = Command(0, robot.rest + 0.1, np.full(6, 0.2), np.zeros(6))
    sent: list[Any] = []
    ForwardPositions(robot, part, sent.append).send(command, 0)
    ForwardVelocities(robot, part, sent.append).send(command, 0)
    assert sent[0].data[0] == pytest.approx(np.rad2deg(0.1))
    assert sent[0].data[1] == pytest.approx(robot.rest[1] + 0.1)
    assert sent[1].data[0] == pytest.approx(np.rad2deg(0.2))
    assert sent[1].data[1] == pytest.approx(0.2)


def test_velocities_lead_where_positions_would() -> None:
    """Integrated tick by tick, velocity commands from rest to rest end where position commands do."""
    robot = contract(**{"output: forward_position": "output: forward_velocity"})
    commands = sweep(robot)
    (part,) = robot.command_parts
    drive = Setpoints(commands[0].position)
    for command in commands:
        drive.drive(command.stamp_ns, command.velocity[part.joints])
    error = drive.at(commands[-1].stamp_ns) - commands[-1].position
    assert np.abs(error).max() < 1e-3


def test_a_gripper_with_its_own_topic_leaves_the_others_message() -> None:
    """No joint is commanded twice, and none is left out."""
    robot = contract(**{"closed: -0.1}": "closed: -0.1, topic: /gripper_controller/commands}"})
    arm, gripper = robot.command_parts
    assert gripper.topic == "/gripper_controller/commands"
    assert gripper.names == ("gripper",)
    assert arm.names == robot.joint_names[:5]
    command = Command(0, np.arange(6.0), np.zeros(6), np.zeros(6))
    sent: list[Any] = []
    for part in (arm, gripper):
        ForwardPositions(robot, part, sent.append).send(command, 0)
    assert [list(message.data) for message in sent] == [[0, 1, 2, 3, 4], [5]]


def test_every_trajectory_is_one_that_the_controller_takes() -> None:
    """Rising times, finite, rest at the end, in motion or not; the command alone where the contract says so."""
    robot = contract(**{"output: forward_position": "output: joint_trajectory"})
    commands = sweep(robot)
    (part,) = robot.command_parts
    sent: list[Any] = []
    output = Trajectories(robot, part, lambda message: sent.append(copy.deepcopy(message)))
    for command in commands:
        output.send(command, command.stamp_ns)
    assert len(sent) == len(commands)
    for message in sent:
        accepted_by_controller(message)
    assert max(len(message.points) for message in sent) > 5
    loose = contract(**{"output: forward_position": "output: joint_trajectory\n  trajectory_ends_at_rest: false"})
    sent.clear()
    Trajectories(loose, part, sent.append).send(commands[60], 0)
    accepted_by_controller(sent[0], at_rest=False)
    assert len(sent[0].points) == 1
    assert any(sent[0].points[0].velocities)


def controller_motion(sent: list[tuple[int, Any]], start: np.ndarray, end_ns: int) -> tuple[Any, Any]:
    """Play (time of arrival, message) to a controller, sampled each 2 ms: times [N] and positions [N, J]."""
    setpoints, waiting = Setpoints(start), list(sent)
    stamps = np.arange(sent[0][0], end_ns, 2_000_000)
    rows = []
    for ns in stamps.tolist():
        while waiting and waiting[0][0] <= ns:
            arrived_ns, message = waiting.pop(0)
            begin_ns = stamp_ns(message.header.stamp)
            points = [
                Waypoint(begin_ns + round(t * 1e9), np.array(p.positions), np.array(p.velocities))
                for t, p in zip(times_s(message), message.points, strict=True)
            ]
            setpoints.follow(arrived_ns, points)
        rows.append(setpoints.at(ns))
    return stamps, np.array(rows)


def test_goals_lead_through_the_same_commands_later() -> None:
    """FollowJointTrajectory: few goals, each acceptable, and the controller passes every command in time."""
    robot = contract(**{"output: forward_position": "output: follow_joint_trajectory"})
    commands = sweep(robot)
    (part,) = robot.command_parts
    sent: list[tuple[int, Any]] = []
    output = FollowGoals(robot, part, lambda message: sent.append((now_ns + 8_000_000, copy.deepcopy(message))))
    for command in commands:
        now_ns = command.stamp_ns
        output.send(command, now_ns)
    assert len(sent) < len(commands) / 4
    for _, message in sent:
        accepted_by_controller(message)
    stamps, motion = controller_motion(sent, commands[0].position, commands[-1].stamp_ns + NS)
    late_ns = stamp_ns(sent[0][1].header.stamp) + round(times_s(sent[0][1])[0] * 1e9) - commands[0].stamp_ns
    assert 0 < late_ns < 100_000_000
    wanted = np.array([c.position[0] for c in commands])
    along = np.interp(np.array([c.stamp_ns for c in commands]) + late_ns, stamps, motion[:, 0])
    assert np.abs(along - wanted).max() < 1e-4
    report = check_limits(stamps[::5], motion[::5], robot.limits, robot.joint_names, tick_s=0.01)
    assert report.ratios[:3].max() < 1.02, report.violations()


def test_at_rest_no_goals_are_sent() -> None:
    """A held pose is sent once, not twenty times a second."""
    robot = contract(**{"output: forward_position": "output: follow_joint_trajectory"})
    (part,) = robot.command_parts
    sent: list[Any] = []
    output = FollowGoals(robot, part, sent.append)
    for k in range(300):
        output.send(Command(NS + k * 10_000_000, robot.rest, np.zeros(6), np.zeros(6)), 0)
    assert len(sent) == 1


@pytest.mark.parametrize("output", [ForwardPositions, ForwardVelocities, Trajectories, FollowGoals])
@pytest.mark.parametrize("joint", [4, 5], ids=["arm", "gripper"])
def test_no_output_jumps_to_a_limit(output: Any, joint: int) -> None:
    """An arm outside its limits was sent to the limit in one tick, whichever the output (report F1)."""
    robot = contract(**{"start_tolerance_rad: 0.35": "start_tolerance_rad: 0.35\n  far_start: approach"})
    (part,), sent, reached = robot.command_parts, [], []
    sender, executor = output(robot, part, lambda m: sent.append(copy.deepcopy(m))), ChunkExecutor.from_contract(robot)
    tick_ns = round(NS / robot.control.rate_hz)
    pose = robot.rest.copy()
    pose[joint] = robot.limits.max_position[joint] + 0.4
    executor.measured(pose, NS)
    rows = np.tile(robot.rest, (10, 1))
    assert executor.offer(JointChunk(NS, 100_000_000, rows, chunk_id=1), NS).accepted
    for k in range(40):
        sender.send(executor.tick(NS + k * tick_ns), NS + k * tick_ns)
    for message in sent:
        if output is ForwardVelocities:
            reached.append((reached[-1] if reached else pose) + np.array(message.data) * tick_ns / NS)
        elif output is ForwardPositions:
            reached.append(np.array(message.data))
        else:
            points = message.points[:1] if output is Trajectories else message.points
            reached += [np.array(point.positions) for point in points]
    if output is FollowGoals:  # each goal ends with a stop that the next one takes over from
        reached = reached[:4]
    steps = np.abs(np.diff(np.stack([pose, *reached]), axis=0))
    assert (steps <= robot.limits.max_velocity * tick_ns / NS).all()
    assert np.stack(reached)[:, joint].max() <= pose[joint] + 1e-9
