# SPDX-License-Identifier: Apache-2.0
"""Merging of joint state messages."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftvla_ros.observation.joint_state import JointStateError, JointStateMerger

NAMES = ("pan", "lift", "elbow", "gripper")
VALUES = {name: 0.1 * k for k, name in enumerate(NAMES)}


@given(order=st.permutations([*NAMES, "caster", "wheel"]))
def test_any_order_gives_the_same_state(order: list[str]) -> None:
    """Joints are taken by name; joints of others are ignored."""
    merger = JointStateMerger(NAMES)
    state = merger.update(order, [VALUES.get(name, math.nan) for name in order], 7)
    assert state is not None
    assert state.stamp_ns == 7
    np.testing.assert_array_equal(state.positions, list(VALUES.values()))


@given(st.lists(st.tuples(st.sets(st.sampled_from(NAMES), min_size=1), st.integers(1, 50)), max_size=30))
def test_a_merged_state_is_as_old_as_its_oldest_joint(messages: list[tuple[set[str], int]]) -> None:
    """Partial messages in any rhythm: every joint has its newest value, the stamp is the oldest joint's and grows."""
    merger = JointStateMerger(NAMES)
    newest: dict[str, int] = {}
    last = -1
    for names, stamp in messages:
        state = merger.update(sorted(names), [float(stamp)] * len(names), stamp)
        for name in names:
            newest[name] = max(stamp, newest.get(name, 0))
        if state is None:
            continue
        assert state.stamp_ns == min(newest.values()) > last
        np.testing.assert_array_equal(state.positions, [newest[name] for name in NAMES])
        last = state.stamp_ns


def test_a_joint_that_stops_arriving_stops_the_state() -> None:
    """A dead gripper driver does not hide behind a living arm driver."""
    merger = JointStateMerger(NAMES)
    assert merger.update(NAMES, [0.0] * 4, 1) is not None
    assert merger.update(NAMES[:3], [1.0] * 3, 2) is None


def test_missing_joints_are_named() -> None:
    """Until every joint arrived once there is no state, and the missing ones can be told."""
    merger = JointStateMerger(NAMES)
    assert merger.update(["pan"], [0.0], 1) is None
    assert merger.missing == ("lift", "elbow", "gripper")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_drops_the_message(bad: float) -> None:
    """NaN never reaches the policy; nothing of such a message is kept, and the joint is named."""
    merger = JointStateMerger(NAMES)
    merger.update(NAMES, [0.0] * 4, 1)
    with pytest.raises(JointStateError, match="lift"):
        merger.update(NAMES, [1.0, bad, 1.0, 1.0], 2)
    state = merger.update(["lift"], [5.0], 3)
    assert state is None


def test_malformed_messages_are_refused() -> None:
    """Lengths that differ and joints named twice are errors with a text."""
    merger = JointStateMerger(NAMES)
    with pytest.raises(JointStateError, match="4 names but 3 positions"):
        merger.update(NAMES, [0.0] * 3, 1)
    with pytest.raises(JointStateError, match="joint pan is named twice"):
        merger.update(["pan", "pan"], [0.0, 0.0], 1)


def test_other_robots_joints_are_no_concern() -> None:
    """A foreign joint named twice, or without a position, drops no state; messages without our joints are no error."""
    merger = JointStateMerger(NAMES)
    state = merger.update(["wheel", *NAMES, "wheel"], [9.0, *VALUES.values(), math.nan], 1)
    assert state is not None
    np.testing.assert_array_equal(state.positions, list(VALUES.values()))
    assert merger.update(["wheel", "wheel", "caster"], [], 2) is None
    assert merger.update([], [], 3) is None


def test_a_state_of_a_time_before_the_clock_went_back_blocks_nothing() -> None:
    """One late message of the old time, after everything was forgotten: the next ones of the new time are taken."""
    merger, second = JointStateMerger(NAMES), 1_000_000_000
    merger.update(NAMES, [1.0] * 4, 21 * second, second)
    for k in (1, 2):
        state = merger.update(NAMES, [2.0 + k] * 4, k * second, k * second)
        assert state is not None
        assert state.stamp_ns == k * second
        np.testing.assert_array_equal(state.positions, [2.0 + k] * 4)
    assert merger.update(NAMES, [9.0] * 4, second, 2 * second) is None
