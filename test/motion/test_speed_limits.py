# SPDX-License-Identifier: Apache-2.0
"""How fast the arm may go: the lowest of live limits, whoever spoke last."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftvla_ros.motion.chunk import NS
from swiftvla_ros.motion.speed_limits import MOST_SOURCES, OPERATOR, SourceLimit, SpeedLimits

_SCALES = st.floats(0.0, 1.0)
_EVENTS = st.lists(
    st.tuples(
        st.sampled_from([OPERATOR, "hands", "door"]), _SCALES, st.sampled_from([0.0, 0.5, 2.0]), st.integers(0, NS)
    ),
    max_size=12,
)


@given(_EVENTS)
def test_the_lowest_live_limit_counts_and_is_named(events):
    """Protects the minimum: at any time it is the lowest of the newest limit of each source that is still valid."""
    limits, newest, now_ns = SpeedLimits(), {}, 0
    for source, scale, valid_s, later_ns in events:
        now_ns += later_ns
        newest[source] = (scale, now_ns, valid_s)
        assert limits.set(SourceLimit(source, scale, f"by {source}", now_ns, valid_s))
        limits.expire(now_ns)
        live = {name: s for name, (s, at, valid) in newest.items() if not valid or now_ns - at <= valid * NS}
        assert limits.scale == min(live.values(), default=1.0)
        binding = limits.binding
        assert (binding is None) == (limits.scale == 1.0)
        if binding is not None:
            assert (live[binding.source], binding.reason) == (limits.scale, f"by {binding.source}")
    assert limits.taken == len(events)


@given(_SCALES, st.lists(_SCALES, min_size=1))
def test_the_slider_does_not_undo_a_monitor(monitor, slider):
    """Protects the monitor's word: whatever the operator sets, the arm goes no faster than the monitor allows."""
    limits = SpeedLimits()
    limits.set(SourceLimit("hands", monitor, "a hand is near"))
    for scale in slider:
        limits.set(SourceLimit(OPERATOR, scale))
        assert limits.scale == min(monitor, scale)
    limits.set(SourceLimit("hands", 1.0))
    assert limits.scale == slider[-1]


def test_sources_under_ever_new_names_are_refused():
    """Protects the control thread: who asks under new names for ever fills neither memory nor tick, and is told so."""
    limits = SpeedLimits()
    for number in range(MOST_SOURCES):
        assert limits.set(SourceLimit(f"monitor {number}", 0.9, valid_for_s=1.0))
    one_more = SourceLimit("one more", 0.1)
    assert not limits.set(one_more)
    assert "50 sources" in limits.problem(one_more)
    assert limits.set(SourceLimit(OPERATOR, 0.5)), "the operator is always heard"
    assert limits.set(SourceLimit("monitor 0", 0.4)), "and so is who was there"
    limits.expire(2 * NS)
    assert limits.expired is not None
    assert limits.set(one_more), "once others are gone there is room"


@given(st.floats(0.01, 100.0), st.integers(-5 * NS, 5 * NS))
def test_a_dead_monitor_is_forgotten(valid_s, jump_ns):
    """Protects the operator from a monitor that died, also where the clock was set back or on meanwhile."""
    limits, now_ns = SpeedLimits(), 100 * NS
    limits.set(SourceLimit("hands", 0.1, "a hand is near", now_ns, valid_s))
    limits.expire(now_ns + int(valid_s * NS))
    assert limits.scale == 0.1
    now_ns += jump_ns
    limits.expire(now_ns)
    limits.expire(max(now_ns, 100 * NS) + math.ceil(valid_s * NS) + 1)
    assert (limits.scale, limits.binding) == (1.0, None)


@pytest.mark.parametrize(
    "limit",
    [
        SourceLimit("", 0.5),
        SourceLimit("hands", math.nan),
        SourceLimit("hands", 1.5),
        SourceLimit("hands", -0.1),
        SourceLimit("hands", 0.5, valid_for_s=-1.0),
        SourceLimit("hands", 0.5, valid_for_s=math.inf),
    ],
)
def test_what_is_no_limit_changes_nothing(limit):
    """Protects against a broken monitor, which must neither stop nor free the arm."""
    limits = SpeedLimits()
    assert not limits.set(limit)
    assert (limits.scale, limits.taken) == (1.0, 0)


def test_a_forgotten_monitor_lets_the_arm_go_on(make_bench):
    """Protects the executor's use of it: slowed to a halt on its path, and on again once the monitor is dead."""
    bench = make_bench()
    bench.stream(lambda t: np.tile(0.1 * t[:, None], 3), 1.0)
    bench.executor.speed_limits.set(SourceLimit("hands", 0.0, "a hand is near", bench.now_ns, 1.0))
    bench.executor.set_speed_scale(1.0)
    bench.run(0.9)
    assert bench.executor.speed_scale == 0.0
    bench.run(0.5)
    assert bench.executor.speed_limits.binding is None
    assert bench.report().ok
