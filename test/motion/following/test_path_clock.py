# SPDX-License-Identifier: Apache-2.0
"""Speed scale: time along the path runs slower, the path stays, limits and timeouts hold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftvla_ros.contract import Limits
from swiftvla_ros.motion import Mode, Reason
from swiftvla_ros.motion.following.path_clock import PathClock

MS = 1_000_000
T0 = 5_000 * MS
SETTINGS = settings(max_examples=25, derandomize=True)
LIMITS = Limits(*(np.full(2, x) for x in (-1.0, 1.0, 2.5, 12.0, 150.0)))
SPEED = np.array([1.0, 2.0])


def ellipse(t: np.ndarray) -> np.ndarray:
    """A motion of three joints whose places lie on one curve, and which starts at rest."""
    phase = 0.8 * (1 - np.cos(np.atleast_1d(t)))
    return np.stack([0.5 * np.sin(phase), 0.5 - 0.5 * np.cos(phase), 0.3 * phase], axis=1)


def _off_the_curve(positions: np.ndarray) -> float:
    curve = ellipse(np.linspace(0.0, math.pi, 20_000))
    return max(float(np.abs(curve - p).max(axis=1).min()) for p in positions)


@SETTINGS
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 0.5, 0.03]) | st.floats(0, 1), st.integers(1, 60)), max_size=12))
def test_path_time_never_jumps_nor_runs_backwards(changes):
    """Whatever the slider does: rate within 0 … 1, continuous with a bounded slope, and time is its integral."""
    clock, now = PathClock(), T0
    clock.restart(now, 1.0)
    seen = [clock.at(now)]
    for rate, ticks in changes:
        clock.change(now, rate, LIMITS, SPEED)
        for _ in range(ticks):
            now += 10 * MS
            clock.settle(now)
            seen.append(clock.at(now))
    rate, slope = np.array([m.rate for m in seen]), np.array([m.slope for m in seen])
    path = np.array([m.ns - T0 + m.fraction for m in seen]) / 1e9
    assert (rate >= 0).all()
    assert (rate <= 1).all()
    assert np.abs(np.diff(rate)).max(initial=0.0) <= 4.0 * 0.01 + 1e-9
    assert (np.abs(slope) <= 4.0 + 1e-9).all()
    assert (np.diff(path) >= -1e-12).all()
    mean = (rate[1:] + rate[:-1]) / 2 * 0.01
    assert np.abs(np.diff(path) - mean).max(initial=0.0) <= 40.0 * 0.01**3


def test_at_rate_one_path_time_is_time_to_the_nanosecond():
    """What the executor did before there was a speed scale, it does still."""
    clock = PathClock()
    clock.restart(T0, 1.0)
    for t in (T0 - 3 * 10**9, T0, T0 + 1, T0 + 10**13 + 7):
        assert clock.at(t) == (t, 0.0, 1.0, 0.0)
        assert clock.when(t) == t


def test_history_maps_the_stamp_of_a_chunk():
    """A chunk that was seen before the change of rate belongs where the arm was on its path then."""
    clock = PathClock()
    clock.restart(T0, 1.0)
    clock.change(T0 + 1000 * MS, 0.5, LIMITS, SPEED)
    before = clock.at(T0 + 600 * MS)
    clock.settle(T0 + 4000 * MS)
    assert before == clock.at(T0 + 600 * MS) == (T0 + 600 * MS, 0.0, 1.0, 0.0)
    two = clock.at(T0 + 8000 * MS).ns - clock.at(T0 + 6000 * MS).ns
    assert two == pytest.approx(1000 * MS, abs=2)


def test_what_was_long_ago_is_forgotten():
    """A slider that is moved for hours costs no memory."""
    clock = PathClock()
    clock.restart(T0, 1.0)
    for k in range(1, 5000):
        clock.change(T0 + k * 20 * MS, 0.5 + 0.4 * math.sin(k), LIMITS, SPEED)
    assert len(clock._pieces) < 700


@SETTINGS
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.integers(1, 8)), min_size=1, max_size=10))
def test_limits_hold_on_the_same_path_for_any_sequence_of_scales(make_bench_once, changes):
    """The slider changes when the arm is where, never where it goes."""
    bench = make_bench_once(tail_timeout_s=30.0, max_chunk_s=20.0)
    assert bench.executor.offer(bench.chunk(ellipse, rows=32), bench.now_ns).accepted
    for scale, tenths in changes:
        assert bench.executor.set_speed_scale(scale)
        bench.run(tenths / 10)
    assert bench.report().ok
    assert not bench.executor.velocity_clamps.any()
    assert not bench.executor.acceleration_clamps.any()
    assert _off_the_curve(bench.positions[::5]) < 2e-3


def test_half_speed_takes_twice_as_long(make_bench):
    """Positions of the full-speed run, at half its pace, with half the velocity and a quarter of the acceleration."""
    runs = {}
    for scale in (1.0, 0.5):
        bench = make_bench(tail_timeout_s=30.0)
        bench.executor.set_speed_scale(scale)
        bench.executor.offer(bench.chunk(ellipse, rows=30), bench.now_ns)
        bench.run(2.5 / scale)
        assert bench.executor.speed_scale == scale
        runs[scale] = bench
    full, half = runs[1.0], runs[0.5]
    assert np.allclose(half.positions[1::2][:240], full.positions[:240], atol=1e-9)
    fast, slow = full.commands[101], half.commands[203]
    assert np.allclose(slow.velocity, fast.velocity / 2, atol=1e-5)
    assert np.allclose(slow.acceleration, fast.acceleration / 4, atol=1e-4)


def test_a_pause_stands_on_the_path_and_goes_on(make_bench):
    """Scale 0 while chunks keep coming: mode FRESH, reason PAUSED, not a millimetre; then on along the same curve."""
    bench = make_bench()
    bench.stream(ellipse, 0.8)
    bench.executor.set_speed_scale(0.0)
    lost_s, where = 0.0, None
    for _ in range(30):
        path_s = bench.now_ns / 1e9 - T0 / 1e9 - lost_s
        bench.executor.offer(bench.chunk(ellipse(path_s + 0.1 * np.arange(10))), bench.now_ns)
        bench.run(0.1)
        lost_s += 0.1 * (1.0 - bench.executor.speed_scale)
        if bench.executor.reason is Reason.PAUSED:
            where = bench.positions[-1] if where is None else where
            assert np.abs(bench.positions[-1] - where).max() < 1e-12
            assert bench.executor.mode is Mode.FRESH
            assert bench.executor.speed_scale == 0.0
    assert where is not None
    assert bench.executor.set_speed_scale(1.0)
    path_s = bench.now_ns / 1e9 - T0 / 1e9 - lost_s
    bench.executor.offer(bench.chunk(ellipse(path_s + 0.1 * np.arange(10))), bench.now_ns)
    bench.run(0.5)
    assert bench.executor.reason is not Reason.PAUSED
    assert np.abs(bench.positions[-1] - where).max() > 0.03
    assert bench.report().ok
    assert _off_the_curve(bench.positions[::5]) < 5e-3


def test_a_pause_does_not_outlast_the_tail_timeout(make_bench):
    """Timeouts are real time: rows from before a long pause without chunks are not followed any more."""
    bench = make_bench(tail_timeout_s=1.0)
    bench.stream(ellipse, 0.8)
    bench.executor.set_speed_scale(0.0)
    bench.run(1.5)
    assert bench.executor.mode is Mode.HOLD
    assert bench.executor.reason is Reason.CHUNK_LATE
    bench.executor.set_speed_scale(1.0)
    held = bench.positions[-1]
    bench.run(0.5)
    assert np.array_equal(bench.positions[-1], held)
    assert bench.executor.offer(bench.chunk(np.tile(held, (10, 1))), bench.now_ns).accepted


@pytest.mark.parametrize("scale", [0.02, 0.3, 0.7])
def test_stop_takes_no_longer_at_a_low_scale(make_bench, scale):
    """A stop at 2 % of the speed must not take fifty times as long."""
    bench = make_bench()
    bench.executor.set_speed_scale(scale)
    bench.executor.offer(bench.chunk(ellipse), bench.now_ns)
    bench.run(0.8)
    bench.executor.stop()
    assert bench.executor.mode is Mode.DECELERATING
    bench.run(0.75)
    assert bench.executor.mode is Mode.HOLD
    assert bench.executor.reason is Reason.STOP_REQUESTED
    assert bench.report().ok


@pytest.mark.parametrize("scale", [-0.01, 1.01, math.nan, math.inf])
def test_what_is_no_share_is_refused(make_bench, scale):
    """A slider in percent by mistake, or NaN, changes nothing."""
    bench = make_bench()
    assert bench.executor.set_speed_scale(0.5)
    assert not bench.executor.set_speed_scale(scale)
    assert bench.executor.speed_scale == 0.5


def test_plan_rows_are_what_is_commanded(make_bench):
    """Chunk guidance is told the truth: rows of the past as commanded, rows ahead as they will be."""
    bench = make_bench()
    bench.stream(ellipse, 1.0)
    stamp_ns = bench.now_ns - 200 * MS
    told = bench.executor.plan_rows(stamp_ns, 100 * MS, 8)
    bench.run(0.5)
    came = np.stack(
        [bench.commands[np.searchsorted(bench.times_s, t - 1e-9)].position for t in 0.8 + 0.1 * np.arange(8)]
    )
    assert np.abs(told - came).max() < 1e-9


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_planned_rows_come_true(make_bench, scale):
    """What executor_state tells is what is commanded at the chunk's rows, up to the slow-down, however fast it runs."""
    bench = make_bench()
    assert bench.executor.set_speed_scale(scale)
    bench.stream(ellipse, 1.0)
    told, places, commands = bench.executor.planned_rows(), [], []
    while bench.executor.mode in (Mode.FRESH, Mode.TAIL):
        places.append(bench.executor.row)
        commands.append(bench.commands[-1].position)
        bench.run(0.01)
    # A slow arm runs out of time before it runs out of rows.
    rows = np.arange(np.ceil(places[0]), min(len(told), np.floor(places[-1]) + 1))
    assert len(rows) >= 4
    came = np.stack([np.interp(rows, places, column) for column in np.array(commands).T], axis=1)
    assert np.abs(told[rows.astype(int)] - came).max() < 1e-4
    bench.run(2.0)
    assert len(bench.executor.planned_rows()) == 0


def test_plan_rows_of_an_arm_that_stands_is_where_it_stands(make_bench):
    """Before anything was commanded and after a hold, the arm stays."""
    bench = make_bench(at=0.25)
    assert np.allclose(bench.executor.plan_rows(bench.now_ns, 100 * MS, 3), 0.25)
    assert bench.executor.reset()
    with pytest.raises(ValueError, match="no joint state"):
        bench.executor.plan_rows(bench.now_ns, 100 * MS, 3)
