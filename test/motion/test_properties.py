# SPDX-License-Identifier: Apache-2.0
"""The promise, for whatever arrives: inside all limits, smooth from tick to tick, at rest when chunks stop."""

from __future__ import annotations

import numpy as np
from hypothesis import Phase, given, settings

from motion_playback import left_alone, make_executor, play, stops_outside, violations
from motion_strategies import stories

SETTINGS = settings(
    max_examples=60, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate, Phase.shrink)
)


@SETTINGS
@given(stories())
def test_whatever_arrives_the_limits_hold(story):
    """Position, velocity, acceleration, jerk: NaN, jumps, limit-to-limit targets, wild stamps, clock jumps, stops."""
    assert not violations(play(make_executor(story), story), story)


@SETTINGS
@given(stories())
def test_from_every_command_the_arm_can_stop_inside_the_limits(story):
    """The invariant that position limits rest on, seen from outside: each command's brake tail stays inside."""
    assert not stops_outside(play(make_executor(story), story), story.limits, every=7)


@SETTINGS
@given(stories())
def test_left_alone_the_arm_comes_to_rest(story):
    """Whatever was going on: without another chunk, it rests half a second after the last row at the latest."""
    executor = make_executor(story)
    assert not left_alone(executor, story, play(executor, story))


@SETTINGS
@given(stories())
def test_the_same_input_gives_the_same_commands(story):
    """No clock is read and nothing is drawn: a bag can be played again."""
    first, second = (play(make_executor(story), story) for _ in range(2))
    assert np.array_equal([c.position for c in first.commands], [c.position for c in second.commands])
