# SPDX-License-Identifier: Apache-2.0
"""One holder at a time, who comes back as who they were, and is gone after some silence."""

import pytest

from swiftvla_ros.panel.controls import ANSWERS_S, GONE_S, Controls


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """A clock that is set by hand."""
    return Clock()


@pytest.fixture
def controls(clock):
    """Controls on that clock."""
    return Controls(clock)


def test_a_silent_holder_does_not_answer_and_then_is_gone(controls, clock):
    """After a second there is no heartbeat; after three others may take the controls."""
    first, _ = controls.join("", "a")
    second, _ = controls.join("", "b")
    assert controls.take(first)[0]
    assert controls.answering().startswith("operator 1")
    clock.now = ANSWERS_S + 0.1
    assert controls.answering() == ""
    assert not controls.take(second)[0]
    clock.now = GONE_S + 0.1
    assert controls.take(second)[0]
    assert not controls.holds(first)


def test_a_page_that_comes_back_is_the_same_and_a_copied_tab_is_not(controls):
    """The key of a page that left holds; that of one that is open names another page."""
    key, name = controls.join("", "a")
    controls.take(key)
    assert controls.join(key, "a")[0] != key
    controls.leave(key)
    assert controls.join(key, "a") == (key, name)
    assert controls.holds(key)


def test_a_made_up_key_is_nobody(controls):
    """Only keys that were given count."""
    key, _ = controls.join("", "a")
    controls.take(key)
    assert controls.join("guess", "b")[0] != "guess"
    assert not controls.holds("")


def test_controls_that_are_given_go_to_who_asked(controls):
    """Else to nobody; and only their holder gives them."""
    first, second = (controls.join("", where)[0] for where in "ab")
    controls.take(first)
    controls.take(second)
    assert not controls.give(second)[0]
    assert controls.give(first)[0]
    assert controls.holds(second)
    controls.give(second)
    assert controls.answering() == ""
