# SPDX-License-Identifier: Apache-2.0
"""Two publishers of one joint are found, by whatever this rclpy tells of them (report F3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftvla_ros.observation.publisher_watch import PublisherWatch, Rivals

ARM, GRIPPER = ("pan", "lift"), ("gripper",)
S = 1_000_000_000


def test_a_second_publisher_of_a_joint_is_found_and_forgotten() -> None:
    """In turns they are rivals; once one has ended they are not."""
    watch = PublisherWatch()
    for k in range(4):
        watch.note("broadcaster", ARM, k * S // 100)
        watch.note("zeros", (*ARM, *GRIPPER), k * S // 100 + 1)
    rivals = watch.rivals(S // 10)
    assert rivals is not None
    assert {rivals.one, rivals.other} == {"broadcaster", "zeros"}
    assert rivals.joint in ARM
    assert watch.rivals(10 * S) is None


@given(st.lists(st.sampled_from(["arm", "gripper"]), max_size=40))
def test_publishers_of_other_joints_are_no_rivals(order: list[str]) -> None:
    """A gripper's driver on the arm's topic is common, in whatever rhythm."""
    watch = PublisherWatch()
    for k, name in enumerate(order):
        watch.note(name, ARM if name == "arm" else GRIPPER, k)
    assert watch.rivals(len(order)) is None


def test_a_driver_that_is_started_again_is_no_rival() -> None:
    """It takes over once; the old one says nothing any more."""
    watch = PublisherWatch()
    for k in range(5):
        watch.note(b"old", ARM, k)
    for k in range(5, 9):
        watch.note(b"new", ARM, k)
    assert watch.rivals(9) is None


@pytest.mark.parametrize("begin", [1, 500_000, 3])
def test_by_message_numbers_where_no_id_is_told(begin: int) -> None:
    """Jazzy tells how many messages a publisher gave: two counts in turns are two publishers."""
    watch = PublisherWatch()
    for k in range(8):
        watch.note(watch.identify(None, 1 + k), ARM, 2 * k)
        watch.note(watch.identify(None, begin + k), ARM, 2 * k + 1)
    assert watch.rivals(20) is not None


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60))
def test_lost_messages_of_one_publisher_make_no_rival(steps: list[int]) -> None:
    """Numbers that are left out are messages that were lost."""
    watch, number = PublisherWatch(), 0
    for k, step in enumerate(steps):
        number += step
        watch.note(watch.identify(None, number), ARM, k)
    assert watch.rivals(len(steps)) is None


def test_nothing_is_concluded_where_nothing_is_told() -> None:
    """Humble tells nothing of a message's publisher: then the states themselves have to do (state_check)."""
    watch = PublisherWatch()
    for k in range(4):
        watch.note(watch.identify(None, None), ARM, k)
    assert watch.rivals(4) is None
    assert watch.identify(b"id", 7) == b"id"
    assert Rivals("pan", 1, 2).joint == "pan"
