# SPDX-License-Identifier: Apache-2.0
"""Chunks joined by stamp: what is followed, how closely, and how smoothly across seams."""

import numpy as np
import pytest

from swiftvla_ros.contract import Limits
from swiftvla_ros.motion import Mode
from swiftvla_ros.motion.chunk import JointChunk
from swiftvla_ros.motion.planning.chunk_planner import join_rows
from swiftvla_ros.motion.planning.motion_plan import MotionPlan
from swiftvla_ros.motion.planning.rows import PlannedRows

MS = 1_000_000
STEP_NS = 100 * MS
T0 = 5_000 * MS
FREQUENCY = np.array([1.5, 2.0, 1.0])


def wave(t: np.ndarray) -> np.ndarray:
    """A motion inside the limits that starts at rest at zero."""
    return 0.4 * (1 - np.cos(np.atleast_1d(t)[:, None] * FREQUENCY))


def test_a_plan_inside_the_limits_is_followed_without_lag(make_bench):
    """Feed-forward: once the start is absorbed, commands are the plan of the same instant, to a milliradian."""
    bench = make_bench()
    bench.stream(wave, 5.0)
    settled = bench.times_s > 1.5
    assert np.abs(bench.positions - wave(bench.times_s))[settled].max() < 1e-3
    assert not bench.executor.velocity_clamps.any()
    assert not bench.executor.acceleration_clamps.any()


@pytest.mark.parametrize("latency_s", [0.0, 0.1, 0.3, 0.6])
def test_latency_is_made_up_for_by_the_stamp(make_bench, latency_s):
    """A chunk that comes late is entered at the row that is due, not at its first."""
    bench = make_bench()
    bench.stream(wave, 4.0, latency_s=latency_s)
    settled = bench.times_s > 2.0
    assert np.abs(bench.positions - wave(bench.times_s))[settled].max() < 2e-3


def test_noise_between_chunks_is_averaged_not_amplified(make_bench):
    """Seams of a fast stream of chunks must not add up: the arm stays as near to the plan as the chunks are."""
    rng = np.random.default_rng(0)
    bench = make_bench()
    bench.stream(lambda t: wave(t) + 0.01 * rng.standard_normal((len(t), 3)), 6.0)
    error = np.abs(bench.positions - wave(bench.times_s))[bench.times_s > 1.5]
    assert error.mean() < 0.008
    assert error.max() < 0.05
    assert bench.report().ok


def test_a_jump_between_chunks_is_a_smooth_turn(make_bench):
    """An instruction that changes mid-motion: no jump, limits kept, and the new target is reached soon."""
    bench = make_bench()
    bench.stream(lambda t: np.tile(0.3 * t[:, None], 3), 1.0)
    bench.stream(lambda t: np.tile(np.full((len(t), 1), -0.4), 3), 2.0)
    assert bench.report().ok
    assert np.abs(bench.positions[-1] + 0.4).max() < 2e-3
    soon = np.searchsorted(bench.times_s, 2.2)
    assert np.abs(bench.positions[soon] + 0.4).max() < 0.05


def test_a_shorter_chunk_keeps_the_tail_of_the_older_one(make_bench):
    """Three new rows must not make the arm stop where ten older ones went on."""
    bench = make_bench()
    ramp = lambda t: np.tile(0.3 * t[:, None], 3)  # noqa: E731
    assert bench.executor.offer(bench.chunk(ramp, rows=12), bench.now_ns).accepted
    bench.run(0.3)
    assert bench.executor.offer(bench.chunk(ramp, rows=3), bench.now_ns).accepted
    bench.run(0.6)
    assert bench.executor.mode in (Mode.FRESH, Mode.TAIL)
    assert np.allclose(bench.positions[-1], 0.27, atol=5e-3)


def _joined(chunk: JointChunk, older: PlannedRows | None, now_ns: int) -> PlannedRows:
    times = chunk.stamp_ns + np.arange(len(chunk.positions)) * chunk.step_ns
    return join_rows(chunk, times, chunk.positions, older, now_ns)


def _rows(stamp_ms: int, count: int, value: float, instruction: int = 0, checkpoint: str = "a") -> JointChunk:
    return JointChunk(stamp_ms * MS, STEP_NS, np.full((count, 1), value), 1, instruction, checkpoint)


def test_rows_go_where_their_stamps_say():
    """Past rows are dropped but for the few that shape the curve, and an older tail follows behind the last row."""
    old = _rows(1000, 10, 1.0)
    older = _joined(old, None, 1000 * MS)
    new = _rows(1130, 6, 2.0)
    rows = _joined(new, older, 1580 * MS)
    assert (rows.times_ns // MS).tolist() == [1330, 1430, 1530, 1630, 1700, 1800, 1900]
    assert rows.positions[:, 0].tolist() == [2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("new", [_rows(1100, 3, 2.0, instruction=1), _rows(1100, 3, 2.0, checkpoint="b")])
def test_a_tail_of_another_task_is_dropped(new):
    """Rows that were meant for another instruction or come from another checkpoint are not ridden out."""
    old = _rows(1000, 10, 1.0)
    older = _joined(old, None, 1000 * MS)
    rows = _joined(new, older, 1100 * MS)
    assert rows.end_ns == 1300 * MS


def test_the_curve_goes_through_the_rows(make_bench):
    """Rows that can be reached are reached, at their own times."""
    bench = make_bench()
    rows = wave(np.arange(10) * 0.1)
    bench.executor.offer(bench.chunk(rows), bench.now_ns)
    bench.run(0.75)
    at = np.searchsorted(bench.times_s, [0.5 - 1e-9, 0.6 - 1e-9, 0.7 - 1e-9])
    assert np.abs(bench.positions[at] - rows[5:8]).max() < 1e-3


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_few_rows_make_a_path(count):
    """A chunk of two rows has no cubic spline in the usual sense; it is a path all the same."""
    limits = Limits(*(np.full(1, x) for x in (-1.0, 1.0, 2.0, 10.0, 100.0)))
    chunk = JointChunk(T0, STEP_NS, 0.05 * np.arange(count, dtype=float)[:, None])
    rows = _joined(chunk, None, T0)
    plan = MotionPlan.through(rows, limits, now_ns=T0, until_ns=T0 + 10**9)
    states = plan.sample(T0 + np.arange(0, 60) * 10 * MS)
    assert np.isfinite(states).all()
    assert np.allclose(states[-1, 0], 0.05 * (count - 1), atol=0.01)
    assert not states[-1, 1:].any()


def test_rows_that_cannot_be_reached_cost_nothing():
    """Ten seconds of rows at 50 Hz are taken in as fast as the second of them that may be followed."""
    limits = Limits(*(np.full(1, x) for x in (-1.0, 1.0, 2.0, 10.0, 100.0)))
    chunk = JointChunk(T0, 20 * MS, 0.1 * np.sin(0.02 * np.arange(500))[:, None])
    rows = _joined(chunk, None, T0)
    plan = MotionPlan.through(rows, limits, now_ns=T0, until_ns=T0 + 10**9)
    assert len(plan.path.rows) < 70
    assert plan.rest_ns <= T0 + 1.5e9


def test_long_streams_cost_no_more_than_short_ones(make_bench):
    """What fades out is folded into one table, not chained: a reference does not grow with the chunks before it."""
    bench = make_bench()
    bench.stream(wave, 1.0)
    early = len(bench.executor._follower.reference._fading._scaled)
    bench.stream(wave, 6.0)
    assert len(bench.executor._follower.reference._fading._scaled) <= early + 5
