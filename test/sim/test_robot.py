# SPDX-License-Identifier: Apache-2.0
"""The simulated arm is the arm of the contract."""

import numpy as np
import pytest

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.sim.block_layout import sample_spot
from swiftvla_ros.sim.inverse_kinematics import PITCH_RAD, InverseKinematics
from swiftvla_ros.sim.world import SimWorld


def test_urdf_and_mujoco_agree_on_the_hand(world: SimWorld, contract: Contract) -> None:
    """Trajectory labels come from the URDF, the pictures from MuJoCo: the hand must be at the same place in both."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        q = rng.uniform(contract.limits.min_position, contract.limits.max_position)
        world.reset(0, arm=q)
        np.testing.assert_allclose(contract.end_effector_position(q), world.end_effector_position(), atol=1e-6)


def test_set_points_beyond_the_limits_are_held(world: SimWorld, contract: Contract) -> None:
    """The servos clip like the real ones, so no command takes a joint out of its range."""
    for sign in (-1, 1):
        world.reset(0)
        world.command(np.full(len(contract.joints), sign * 10.0))
        world.advance(2.0)
        assert (world.state() >= contract.limits.min_position - 0.02).all()
        assert (world.state() <= contract.limits.max_position + 0.02).all()


def test_servos_follow_a_smooth_command(world: SimWorld, contract: Contract) -> None:
    """Tracking is tight: a policy that reads measured joints has to find its own commands there."""
    rest = contract.rest
    for tick in range(150):
        offset = 0.3 * np.sin(2 * np.pi * 0.5 * tick * 0.01)
        world.command(rest + offset * np.array([1, 1, 1, -1, 1, 0]))
        world.advance(0.01)
        assert np.abs(world.state() - world.commanded()).max() < 0.06


def test_the_arm_holds_still_at_rest(world: SimWorld, contract: Contract) -> None:
    """At rest nothing sags, and no block creeps."""
    blocks = world.block_positions()
    world.advance(1.0)
    np.testing.assert_allclose(world.state(), contract.rest, atol=0.005)
    np.testing.assert_allclose(world.block_positions(), blocks, atol=0.001)


def test_same_seed_same_scene(world: SimWorld) -> None:
    """A seed names a scene: blocks, light and colours."""
    world.reset(11)
    blocks, picture = world.block_positions(), world.render("front")
    world.reset(12)
    assert not np.allclose(world.block_positions(), blocks)
    world.reset(11)
    np.testing.assert_array_equal(world.block_positions(), blocks)
    np.testing.assert_array_equal(world.render("front"), picture)


def test_the_whole_workspace_is_reached(contract: Contract) -> None:
    """Every block that is put on the table can be grasped there and lifted from there."""
    kinematics = InverseKinematics(contract)
    rng = np.random.default_rng(2)
    for _ in range(40):
        spot = sample_spot(rng)
        for height in (0.012, 0.095):
            target = np.array([*spot, height])
            q = np.append(kinematics.solve(target), contract.rest[-1])
            assert contract.chain is not None
            pose = contract.chain.pose(q)
            np.testing.assert_allclose(pose[:3, 3], target, atol=1e-5)
            assert pose[2, 2] == pytest.approx(-np.sin(PITCH_RAD), abs=1e-5)


def test_out_of_reach_is_an_error(contract: Contract) -> None:
    """A target beyond the arm is refused, not approximated."""
    with pytest.raises(ValueError, match="cannot reach"):
        InverseKinematics(contract).solve(np.array([0.6, 0.0, 0.1]))
