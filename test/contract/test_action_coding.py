# SPDX-License-Identifier: Apache-2.0
"""What a policy's rows mean, there and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from swiftvla_ros.contract import ACTION_KINDS, ActionCoding, load_contract
from swiftvla_ros.contract.action_coding import RELATIVE

STATE = np.array([0.5, -1.0, 0.2])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("absolute", [[0.1, 0.2, 0.3], [0.1, 0.0, 0.6]]),
        (RELATIVE, [[0.6, -0.8, 0.5], [0.6, -1.0, 0.8]]),
        ("delta_to_state", [[0.6, -0.8, 0.3], [0.6, -1.0, 0.6]]),
        ("delta_per_step", [[0.6, -0.8, 0.3], [0.7, -0.8, 0.6]]),
        ("velocity", [[0.55, -0.9, 0.3], [0.6, -0.9, 0.6]]),
    ],
)
def test_rows_become_positions(kind: str, expected: list) -> None:
    """Protects the arm: each kind's meaning by hand, and a gripper column that is a position in all but RELATIVE."""
    rows = np.array([[0.1, 0.2, 0.3], [0.1, 0.0, 0.6]])
    np.testing.assert_allclose(ActionCoding(kind, 0.5, (2,)).decode(rows, STATE), expected)


@settings(derandomize=True)
@given(
    kind=st.sampled_from((*ACTION_KINDS, RELATIVE)),
    positions=hnp.arrays(float, (2, 7, 3), elements=st.floats(-3, 3)),
    states=hnp.arrays(float, (2, 3), elements=st.floats(-3, 3)),
    grippers=st.sampled_from([(), (2,), (0, 2)]),
    step_s=st.floats(0.02, 0.5),
)
def test_there_and_back(
    kind: str, positions: np.ndarray, states: np.ndarray, grippers: tuple[int, ...], step_s: float
) -> None:
    """Protects training against deployment: what is learnt from many chunks leads each back to the same positions."""
    coding = ActionCoding(kind, step_s, grippers)
    rows = coding.encode(positions, states)
    np.testing.assert_allclose(coding.decode(rows, states), positions, atol=1e-12)
    np.testing.assert_array_equal(coding.encode(positions[1], states[1]), rows[1])


def test_nothing_is_changed_in_place() -> None:
    """Protects the caller's arrays, whatever the kind."""
    rows = np.ones((2, 3))
    for kind in (*ACTION_KINDS, RELATIVE):
        coding = ActionCoding(kind, 0.1, (2,))
        coding.decode(rows, STATE)[:] = 7
        coding.encode(rows, STATE)[:] = 7
    assert (rows == 1).all()


def test_an_unknown_kind_is_an_error() -> None:
    """Protects against a kind that would silently be taken for another."""
    with pytest.raises(ValueError, match="'torque' is unknown"):
        ActionCoding("torque", 0.1)


def test_positions_are_learned_around_the_state() -> None:
    """Protects training: an "absolute" contract's rows are learned relative to the state, at its step and gripper."""
    contract = load_contract("so101_sim")
    assert ActionCoding.of(contract) == ActionCoding(RELATIVE, contract.policy.step_s, (5,))
    assert ActionCoding.of(contract, "absolute").kind == "absolute"
