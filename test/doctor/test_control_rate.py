# SPDX-License-Identifier: Apache-2.0
"""A rate that this machine does not hold is told before the arm shows it, with what holds it."""

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")

from swiftvla_ros.doctor.control_rate import check_rate
from swiftvla_ros.nodes.parts.rate_trial import HeldRate

HELD = HeldRate(500.0, (0.2, 0.6), 0.0)
LATE = HeldRate(500.0, (0.2, 1.8), 0.0)
MISSED = HeldRate(100.0, (0.2, 0.6), 0.05)


def test_a_held_rate_needs_nothing():
    """Protects: half the period is left for what the trial does not do."""
    row = check_rate(HELD, None)
    assert (row.status, row.fix) == ("ok", "")
    assert "500 Hz" in row.finding


def test_the_priority_is_the_fix_where_it_helps():
    """Protects: nobody lowers the rate who only has to set a parameter."""
    row = check_rate(LATE, HELD)
    assert row.status == "warning"
    assert "SCHED_FIFO" in row.finding
    assert row.fix == "set the executor's realtime_priority: 10"


def test_else_a_lower_rate_is_named_if_there_is_one():
    """Protects: no fix leads to a contract that is refused."""
    assert "control.rate_hz in the contract (250)" in check_rate(LATE, LATE).fix
    row = check_rate(MISSED, None)
    assert row.status == "warning"
    assert "rtprio" in row.fix
    assert "rate_hz" not in row.fix
