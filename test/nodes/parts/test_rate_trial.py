# SPDX-License-Identifier: Apache-2.0
"""The trial does what the executor node does: an arm that moves, at the contract's rate."""

import pytest

from swiftvla_ros.contract import load_contract
from swiftvla_ros.nodes.parts.rate_trial import measure_rate


@pytest.mark.parametrize("robot", ["so101_sim", "so101_two_arms"])
def test_ticks_are_timed(robot: str) -> None:
    """Protects: positions and trajectories alike are timed, and a tick is over after it was due."""
    held = measure_rate(load_contract(robot), seconds=0.3)
    assert held.rate_hz == 100.0
    assert 0.0 < held.late_ms[0] <= held.late_ms[1]
    assert 0.0 <= held.missed_share <= 1.0
