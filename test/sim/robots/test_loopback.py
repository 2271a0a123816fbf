# SPDX-License-Identifier: Apache-2.0
"""The loop-back arm and its faults, without ROS."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from swiftvla_ros.contract import load_contract
from swiftvla_ros.motion import ChunkExecutor, ExecutorConfig, JointChunk, check_limits
from swiftvla_ros.resources import shipped_robots
from swiftvla_ros.sim.robots.loopback import Faults, LoopbackArm, MovingPicture
from swiftvla_ros.sim.robots.setpoints import Setpoints

CONTRACT = load_contract("so101_sim")
MS = 1_000_000


def arm(**faults: Any) -> LoopbackArm:
    """Make an arm whose joints are commanded together."""
    made = LoopbackArm(CONTRACT, (np.arange(len(CONTRACT.joints)),), seed=3)
    made.faults = Faults(**faults)
    return made


def hold(position: Any) -> Callable[[Setpoints, int], None]:
    """Make a forward command."""
    return lambda setpoints, ns: setpoints.forward(ns, position)


def test_a_command_becomes_the_state() -> None:
    """Where it is told to be it is, up to its stops."""
    robot, target = arm(), CONTRACT.rest + 0.1
    state = robot.state(0)
    assert state is not None
    np.testing.assert_array_equal(state[0], CONTRACT.rest)
    robot.command(0, hold(target), 10 * MS)
    state = robot.state(10 * MS)
    assert state is not None
    np.testing.assert_array_equal(state[0], target)
    robot.command(0, hold(target + 100.0), 20 * MS)
    state = robot.state(20 * MS)
    assert state is not None
    np.testing.assert_array_equal(state[0], CONTRACT.limits.max_position)
    robot.reset(30 * MS)
    state = robot.state(30 * MS)
    assert state is not None
    np.testing.assert_array_equal(state[0], CONTRACT.rest)


def test_delay() -> None:
    """The state shows a command when its delay is over, not before."""
    robot = arm(delay_s=0.1)
    robot.command(0, hold(CONTRACT.rest + 0.1), 0)
    early, late = robot.state(99 * MS), robot.state(100 * MS)
    assert early is not None
    assert late is not None
    np.testing.assert_array_equal(early[0], CONTRACT.rest)
    np.testing.assert_array_equal(late[0], CONTRACT.rest + 0.1)


def test_noise_losses_and_deafness() -> None:
    """Each fault does what it says, by the numbers, and the same again with the same seed."""
    noisy = arm(noise_rad=0.01)
    states = np.array([s[0] for k in range(2000) if (s := noisy.state(k * MS)) is not None])
    assert states.std(axis=0) == pytest.approx(0.01, rel=0.1)
    np.testing.assert_array_equal(states[0], np.asarray(arm(noise_rad=0.01).state(0))[0])
    lossy = arm(dropout=0.3)
    lost = sum(lossy.state(k * MS) is None for k in range(2000)) / 2000
    assert lost == pytest.approx(0.3, abs=0.05)
    deaf = arm(deaf=True)
    deaf.command(0, hold(CONTRACT.rest + 0.1), 0)
    state = deaf.state(10 * MS)
    assert state is not None
    np.testing.assert_array_equal(state[0], CONTRACT.rest)


@pytest.mark.parametrize("wrong", [{"delay_s": -1.0}, {"noise_rad": float("nan")}, {"dropout": 1.5}])
def test_faults_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    """A share of 150 % is a typing error, not a fault to simulate."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Faults(**wrong)


def test_pictures_move() -> None:
    """No two pictures in a row are alike: a camera that repeats itself is frozen."""
    pictures = MovingPicture(64, 48)
    frames = [pictures.next() for _ in range(90)]
    assert frames[0].shape == (48, 64, 3)
    assert all((a != b).any() for a, b in pairwise(frames))


@pytest.mark.parametrize("robot", [name for name in shipped_robots() if load_contract(name).hand is None])
def test_every_shipped_contract_drives_a_robot(robot: str) -> None:
    """Protects the contracts to copy from: the executor sweeps each joint of each of them, inside its limits."""
    contract = load_contract(robot)
    limits, parts = contract.limits, contract.command_parts
    executor = ChunkExecutor(limits, contract.joint_names, ExecutorConfig.from_contract(contract))
    follower = LoopbackArm(contract, tuple(part.joints for part in parts))
    tick_ns, step_ns = round(1e9 / contract.control.rate_hz), round(1e9 * contract.policy.step_s)
    # Away from the nearer end, as far as the joint is free.
    centre = np.where(contract.rest - limits.min_position < limits.max_position - contract.rest, 1.0, -1.0)
    reach = 0.15 * np.minimum(1.0, limits.max_position - limits.min_position)
    now_ns, stamps, positions, measured = 5_000_000_000, [], [], contract.rest
    executor.seed(contract.rest, now_ns)
    for k in range(250):
        if k % 10 == 0:
            times_s = (k * tick_ns + step_ns * np.arange(10)) / 1e9
            rows = contract.rest + np.outer(1 - np.cos(1.5 * times_s), centre * reach)
            executor.offer(JointChunk(now_ns, step_ns, rows, k, 0), now_ns)
        now_ns += tick_ns
        executor.measured(measured, now_ns)
        command = executor.tick(now_ns)
        if command is None:
            continue
        stamps.append(command.stamp_ns)
        positions.append(command.position)
        for number, part in enumerate(parts):
            follower.command(number, hold(command.position[part.joints]), now_ns)
        state = follower.state(now_ns)
        assert state is not None
        measured = state[0]
    swept = np.ptp(np.array(positions), axis=0)
    assert np.all(swept > reach), dict(zip(contract.joint_names, swept.round(3), strict=True))
    report = check_limits(np.array(stamps), np.array(positions), limits, contract.joint_names, tick_s=tick_ns / 1e9)
    assert report.ok, report
    np.testing.assert_allclose(measured, positions[-1])
