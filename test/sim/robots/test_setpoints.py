# SPDX-License-Identifier: Apache-2.0
"""Set-points as a driver computes them from commands."""

import numpy as np
import pytest

from swiftvla_ros.sim.robots.setpoints import RobotSetpoints, Setpoints, Waypoint

MS = 1_000_000


def point(ms: int, position: float, velocity: float | None = None) -> Waypoint:
    """Make a waypoint of one joint."""
    return Waypoint(ms * MS, np.array([position]), None if velocity is None else np.array([velocity]))


def test_a_forward_command_holds_at_once() -> None:
    """A forward command is the set-point until the next one."""
    setpoints = Setpoints(np.zeros(1))
    setpoints.forward(10 * MS, np.ones(1))
    assert setpoints.at(10 * MS)[0] == 1.0
    assert setpoints.at(500 * MS)[0] == 1.0


def test_a_trajectory_meets_its_points_and_then_holds() -> None:
    """Positions at the points' times are met exactly, and the last one is held."""
    setpoints = Setpoints(np.zeros(1))
    setpoints.follow(0, [point(100, 0.1, 1.0), point(200, 0.15, 0.0)])
    assert setpoints.at(100 * MS)[0] == pytest.approx(0.1)
    assert setpoints.at(200 * MS)[0] == pytest.approx(0.15)
    assert setpoints.at(900 * MS)[0] == pytest.approx(0.15)


def test_a_new_trajectory_starts_where_the_old_one_is_not_where_it_began() -> None:
    """Replacing a trajectory in motion is continuous in position and velocity."""
    setpoints = Setpoints(np.zeros(1))
    setpoints.follow(0, [point(100, 0.1, 1.0), point(1000, 1.0, 1.0)])
    before = setpoints.at(500 * MS)[0]
    setpoints.follow(500 * MS, [point(510, before + 0.01, 1.0), point(700, before + 0.1, 0.0)])
    times = np.arange(500, 520)
    path = np.array([setpoints.at(int(t) * MS)[0] for t in times])
    assert path[0] == pytest.approx(before)
    assert np.abs(np.diff(path) - 0.001).max() < 1e-4


def test_past_points_are_skipped() -> None:
    """A late trajectory does not jump back to its beginning."""
    setpoints = Setpoints(np.zeros(1))
    setpoints.follow(150 * MS, [point(100, 5.0), point(200, 1.0)])
    assert setpoints.at(175 * MS)[0] == pytest.approx(0.5)


def test_without_velocities_points_are_joined_by_lines() -> None:
    """Position-only trajectories are followed as joint_trajectory_controller does."""
    setpoints = Setpoints(np.zeros(1))
    setpoints.follow(0, [point(100, 1.0), point(200, 0.0)])
    assert setpoints.at(50 * MS)[0] == pytest.approx(0.5)
    assert setpoints.at(150 * MS)[0] == pytest.approx(0.5)


def test_a_velocity_moves_on_until_the_next_command() -> None:
    """A velocity command is integrated for as long as no other comes: what a robot does when its commander dies."""
    setpoints = Setpoints(np.zeros(1))
    setpoints.drive(100 * MS, np.array([0.5]))
    assert setpoints.at(300 * MS)[0] == pytest.approx(0.1)
    setpoints.drive(300 * MS, np.array([-1.0]))
    position, velocity = setpoints.state(400 * MS)
    assert (position[0], velocity[0]) == (pytest.approx(0.0), -1.0)
    setpoints.forward(400 * MS, np.array([0.2]))
    assert setpoints.at(900 * MS)[0] == 0.2


def test_parts_are_commanded_apart() -> None:
    """A gripper's command leaves the arm where it is, and the other way round."""
    robot = RobotSetpoints(np.array([0.1, 0.2, 0.3]), (np.array([0, 2]), np.array([1])))
    robot.parts[0].forward(10 * MS, np.array([1.0, 3.0]))
    robot.parts[1].follow(10 * MS, [point(110, 1.2)])
    position, velocity = robot.state(60 * MS)
    np.testing.assert_allclose(position, [1.0, 0.7, 3.0])
    np.testing.assert_allclose(velocity, [0.0, 10.0, 0.0])
    robot.forward(60 * MS, np.zeros(3))
    np.testing.assert_array_equal(robot.state(90 * MS)[0], np.zeros(3))
