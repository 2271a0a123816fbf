# SPDX-License-Identifier: Apache-2.0
"""The smooth step that gripper, seams, a teleoperator's approach and demonstrations share."""

import numpy as np
import pytest

from swiftvla_ros.motion.smooth_step import smooth_step


def test_it_begins_and_ends_at_rest() -> None:
    """Protects the arm from a jerk: no velocity and no acceleration at the ends, and never back on the way."""
    u = np.linspace(0.0, 1.0, 1001)
    way = smooth_step(u, 2.0)
    assert way[[0, 500, -1]] == pytest.approx([0.0, 1.0, 2.0], abs=1e-12)
    velocity = np.gradient(way, u)
    acceleration = np.gradient(velocity, u)
    assert (velocity >= -1e-12).all()
    for end in (0, -1):
        assert abs(velocity[end]) < 1e-4
        assert abs(acceleration[end]) < 0.2, "of 11.5 at most"


def test_its_bits_are_those_of_recordings() -> None:
    """Protects exact replay: gripper and seams of recorded runs were computed in these orders of factors."""
    rng = np.random.default_rng(0)
    u, height = rng.uniform(0.0, 1.0, 10_000), float(rng.normal())
    np.testing.assert_array_equal(smooth_step(u), u**3 * (10.0 + u * (6.0 * u - 15.0)))
    np.testing.assert_array_equal(smooth_step(u, height), height * u**3 * (10.0 + u * (6.0 * u - 15.0)))
