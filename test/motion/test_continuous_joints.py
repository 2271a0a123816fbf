# SPDX-License-Identifier: Apache-2.0
"""Continuous joints, whose driver wraps their angles: "commanded 3.396, measured -2.888" must stop no arm."""

from pathlib import Path

import numpy as np
import pytest

from swiftvla_ros.contract import Limits, contract_from_text, load_contract
from swiftvla_ros.contract.action_coding import ActionCoding
from swiftvla_ros.contract.load import ContractError
from swiftvla_ros.contract.turns import TURN, nearest, unwrapped
from swiftvla_ros.motion import ChunkExecutor, ExecutorConfig, JointChunk, Mode, Refusal, check_limits

MS = 1_000_000
BASE = load_contract("so101_sim")
ENDLESS = np.array([False, True])


def _wrapped(angle):
    return (angle + np.pi) % TURN - np.pi


def _executor(**config):
    limits = Limits(np.array([-1.0, -np.inf]), np.array([1.0, np.inf]), *(np.full(2, x) for x in (2.0, 12.0, 150.0)))
    return ChunkExecutor(limits, ("arm", "wrist"), ExecutorConfig(step_s=0.1, **config))


def _turn(driver, policy, *, start=3.0, speed=0.5, seconds=6.0, wanders=0.0, **config):
    """Turn on and on; ``driver`` and ``policy`` say how they give angles. Returns the executor and its commands."""
    executor, now_ns, commands = _executor(**config), 10**9, []
    angle = start
    for k in range(round(seconds * 100)):
        executor.measured(np.array([0.0, driver(angle)]), now_ns, now_ns)
        if k % 20 == 0:
            rows = np.zeros((10, 2))
            rows[:, 1] = policy(angle + speed * 0.1 * np.arange(10) + wanders * (-1) ** (k // 20))
            assert executor.offer(JointChunk(now_ns, 100 * MS, rows, k + 1), now_ns).accepted
        now_ns += 10 * MS
        command = executor.tick(now_ns)
        commands.append(command.position)
        angle = command.position[1]
    assert executor.mode is Mode.FRESH, executor.reason_text
    commands = np.array(commands)
    stamps = np.arange(len(commands)) * 10 * MS
    assert check_limits(stamps, commands, executor._planner._limits, executor.joint_names, tick_s=0.01).ok
    return executor, commands[:, 1]


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        (np.asarray, "smooth"),
        (_wrapped, "smooth"),
        (lambda a: a % TURN, "replace"),
        (lambda a: a + 3 * TURN, "linear"),
        (_wrapped, "ensemble"),
    ],
)
def test_a_wrapped_joint_turns_on(policy, kind):
    """However driver and policy count, the joint turns the way that it is told, and no watch stops it."""
    _, same = _turn(_wrapped, lambda a: a, blend={"kind": kind}, tracking={}, seconds=2.5)
    executor, angles = _turn(_wrapped, policy, blend={"kind": kind}, tracking={}, seconds=2.5)
    np.testing.assert_allclose(angles, same, atol=1e-9)
    assert angles[-1] > np.pi
    assert abs(executor.tracking_error[1]) < 0.1


@pytest.mark.parametrize(("start", "speed"), [(3.1, 1.5), (-3.1, -1.5), (0.0, 1.5)])
def test_several_turns_and_back_over_the_seam(start, speed):
    """Five seconds at full speed, and chunks that disagree by 0.1 rad about the place where the driver wraps."""
    _, angles = _turn(_wrapped, _wrapped, start=start, speed=speed, wanders=0.05, tracking={}, start_tolerance_rad=0.2)
    assert (angles[-1] - start) * np.sign(speed) > 5.0
    assert np.abs(np.diff(angles)).max() < 0.0201


def test_the_start_is_measured_the_shorter_way():
    """A chunk on the other side of the seam is near; one half a turn away is far, and named."""
    for row, taken in ((-3.1, True), (3.1 + 2 * TURN, True), (0.0, False)):
        executor = _executor()
        executor.measured(np.array([0.0, 3.1]), 10**9, 10**9)
        rows = np.tile([0.0, row], (10, 1))
        answer = executor.offer(JointChunk(10**9, 100 * MS, rows, 1), 10**9)
        assert answer.accepted == taken
        assert taken or (answer.code is Refusal.FAR_FROM_MEASURED and "'wrist'" in answer.text)


def test_numbers_that_are_no_angles_do_not_spin_it():
    """Whatever a policy says, the next row is half a turn away at most."""
    executor = _executor(start_tolerance_rad=4.0)
    executor.measured(np.zeros(2), 10**9, 10**9)
    rows = np.tile([0.0, 1e300], (10, 1))
    rows[::2, 1] = -1e9
    assert executor.offer(JointChunk(10**9, 100 * MS, rows, 1), 10**9).accepted
    angles = [executor.tick(10**9 + k * 10 * MS).position[1] for k in range(1, 100)]
    assert np.abs(angles).max() < 10.0


def test_angles_are_brought_near_and_nothing_else_is_touched():
    """Values that are nearest already, and joints with ends, keep every bit."""
    near = np.array([5.0, 20.0])
    assert nearest(np.array([0.1, 0.1]), near, ENDLESS).tolist() == [0.1, pytest.approx(0.1 + 3 * TURN)]
    assert nearest(np.array([0.1, 19.123]), near, ENDLESS).tolist() == [0.1, 19.123]
    rows = np.array([[3.0, 3.0], [-3.0, -3.0], [3.0, 3.0]])
    np.testing.assert_allclose(unwrapped(rows, ENDLESS), [[3.0, 3.0], [-3.0, TURN - 3.0], [3.0, 3.0]])
    assert unwrapped(rows, np.zeros(2, dtype=bool)) is rows


@pytest.mark.parametrize("kind", ["relative", "delta_to_state", "delta_per_step", "velocity"])
def test_a_policy_learns_the_shorter_way(kind):
    """Rows beyond the seam, relative to a state before it, are small steps and no turn back."""
    coding = ActionCoding(kind, 0.1, continuous=(1,))
    state, rows = np.array([0.2, 3.1]), np.array([[0.3, -3.1], [0.4, -3.0]])
    encoded = coding.encode(rows, state)
    assert np.abs(encoded).max() < 2.0
    np.testing.assert_allclose(_wrapped(coding.decode(encoded, state)), rows)


def _contract(line):
    text = BASE.text.replace("position: [-2.74385, 2.84121]", line)
    assert text != BASE.text
    return contract_from_text(text, Path(BASE.path))


def test_the_contract_says_which_joints_are_continuous():
    """Either the joint has limits, or it turns without end; a gripper and a sliding joint have ends."""
    contract = _contract("continuous: true")
    assert contract.limits.continuous.tolist() == [False] * 4 + [True, False]
    assert not BASE.limits.continuous.any()
    for line, named in (
        ("position: [-1, 1], continuous: true", "wrist_roll.*remove"),
        ("percent_of: null", "wrist_roll.*position"),
        ("continuous: true, percent_of: [0, 1]", "wrist_roll.*percent_of"),
    ):
        with pytest.raises(ContractError, match=named):
            _contract(line)
