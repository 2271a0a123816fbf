# SPDX-License-Identifier: Apache-2.0
"""A jog of the tool: the joints move it as wanted, and stay finite where they can't."""

import numpy as np
import pytest

from swiftvla_ros.contract import load_contract
from swiftvla_ros.teleop.tool_jog import joint_speeds

CONTRACT = load_contract("so101_sim")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_tool_moves_along_an_axis(axis: int):
    """Protects against a sign or an order of joints: a tenth of a second later the tool is where it was sent."""
    chain, q = CONTRACT.chain, CONTRACT.rest.copy()
    assert chain is not None
    wanted = 0.05 * np.eye(3)[axis]
    begin = chain.pose(q)[:3, 3]
    for _ in range(10):
        q = q + 0.01 * joint_speeds(chain, q, wanted, np.zeros(3))
    moved = chain.pose(q)[:3, 3] - begin
    np.testing.assert_allclose(moved, 0.1 * wanted, atol=0.0015)


def test_speeds_stay_finite_where_the_arm_cannot_go():
    """Protects a stretched arm: what it can't reach asks for no speed beyond reason."""
    assert CONTRACT.chain is not None
    speeds = joint_speeds(CONTRACT.chain, np.zeros(6), np.array([0.1, 0.0, 0.0]), np.zeros(3))
    assert np.isfinite(speeds).all()
    assert np.abs(speeds).max() < 5.0
