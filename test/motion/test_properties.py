# SPDX-License-Identifier: Apache-2.0
"""The promise, for whatever arrives: inside all limits, smooth from tick to tick, at rest when chunks stop."""

import numpy as np
from hypothesis import Phase, given, settings

from motion_playback import left_alone, make_executor, play
from motion_promise import stops_outside, violations
from motion_strategies import stories

SETTINGS = settings(max_examples=60, derandomize=True, phases=(Phase.explicit, Phase.generate, Phase.shrink))


@SETTINGS
@given(stories())
def test_whatever_arrives_the_promise_holds(story):
    """NaN, jumps, limit-to-limit targets, wild stamps, clock jumps, stops: every command and the end are looked at."""
    executor = make_executor(story)
    record = play(executor, story)
    assert not violations(record, story), "position, velocity, acceleration, jerk"
    assert not stops_outside(record, story.limits, every=7), "from every command the arm can stop inside the limits"
    again = play(make_executor(story), story)
    commands = ([c.position for c in played.commands] for played in (record, again))
    assert np.array_equal(*commands), "no clock is read and nothing is drawn: a bag can be played again"
    assert not left_alone(executor, story, record), "without another chunk it rests half a second after the last row"
