# SPDX-License-Identifier: Apache-2.0
"""Set-points as a driver computes them from commands."""

from __future__ import annotations

import numpy as np
import pytest

from swiftvla_ros.nodes.setpoints import Setpoints, Waypoint

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
