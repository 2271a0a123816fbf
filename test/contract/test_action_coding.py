# SPDX-License-Identifier: Apache-2.0
"""What a policy's rows mean, there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from swiftvla_ros.contract import ACTION_KINDS, absolute_rows, relative_rows

STATE = np.array([0.5, -1.0, 0.2])
GRIPPER = np.array([False, False, True])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("absolute", [[0.1, 0.2, 0.3], [0.1, 0.0, 0.6]]),
        ("delta_to_state", [[0.6, -0.8, 0.3], [0.6, -1.0, 0.6]]),
        ("delta_per_step", [[0.6, -0.8, 0.3], [0.7, -0.8, 0.6]]),
        ("velocity", [[0.55, -0.9, 0.3], [0.6, -0.9, 0.6]]),
    ],
)
def test_rows_become_positions(kind: str, expected: list) -> None:
    """Protects the arm: each kind's meaning by hand, and a gripper column that is a position in all of them."""
    rows = np.array([[0.1, 0.2, 0.3], [0.1, 0.0, 0.6]])
    np.testing.assert_allclose(absolute_rows(kind, rows, STATE, 0.5, gripper=GRIPPER), expected)


@settings(deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(ACTION_KINDS),
    positions=hnp.arrays(float, (7, 3), elements=st.floats(-3, 3)),
    gripper=st.sampled_from([None, GRIPPER, GRIPPER | True]),
    step_s=st.floats(0.02, 0.5),
)
def test_there_and_back(kind: str, positions: np.ndarray, gripper: np.ndarray | None, step_s: float) -> None:
    """Protects training against deployment: what is learnt from positions leads back to the same positions."""
    rows = relative_rows(kind, positions, STATE, step_s, gripper)
    np.testing.assert_allclose(absolute_rows(kind, rows, STATE, step_s, gripper), positions, atol=1e-12)


def test_nothing_is_changed_in_place() -> None:
    """Protects the caller's arrays, whatever the kind."""
    rows = np.ones((2, 3))
    for kind in ACTION_KINDS:
        absolute_rows(kind, rows, STATE, 0.1)[:] = 7
        relative_rows(kind, rows, STATE, 0.1)[:] = 7
    assert (rows == 1).all()


def test_an_unknown_kind_is_an_error() -> None:
    """Protects against a kind that would silently be taken for another."""
    for function in (absolute_rows, relative_rows):
        with pytest.raises(ValueError, match="'torque' is unknown"):
            function("torque", np.zeros((1, 3)), STATE, 0.1)
