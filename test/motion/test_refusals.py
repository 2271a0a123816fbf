# SPDX-License-Identifier: Apache-2.0
"""Chunks that must not be followed, each with its code, and that refusing changes nothing."""

from dataclasses import replace

import numpy as np
import pytest

from swiftvla_ros.motion import Mode, Reason, Refusal

MS = 1_000_000
STEP_NS = 100 * MS


def _with_nan(positions: np.ndarray) -> np.ndarray:
    positions = positions.copy()
    positions[3, 1] = np.nan
    return positions


BAD = {
    "nan": (lambda c: replace(c, positions=_with_nan(c.positions)), Refusal.NON_FINITE, "row 3 of joint 'joint_1'"),
    "inf": (lambda c: replace(c, positions=c.positions + np.inf), Refusal.NON_FINITE, "inf"),
    "flat": (lambda c: replace(c, positions=c.positions.ravel()), Refusal.WRONG_SHAPE, "shape (30,)"),
    "no rows": (lambda c: replace(c, positions=c.positions[:0]), Refusal.WRONG_SHAPE, "shape (0, 3)"),
    "a column too few": (lambda c: replace(c, positions=c.positions[:, :2]), Refusal.WRONG_SHAPE, "(10, 2)"),
    "ragged": (lambda c: replace(c, positions=[[0.0, 0.0, 0.0], [0.0]]), Refusal.WRONG_SHAPE, "equal length"),
    "another joint": (
        lambda c: replace(c, joint_names=("joint_0", "joint_1", "tail")),
        Refusal.WRONG_JOINTS,
        "missing ['joint_2'], unknown or repeated ['tail']",
    ),
    "a joint twice": (
        lambda c: replace(c, joint_names=("joint_0", "joint_1", "joint_1")),
        Refusal.WRONG_JOINTS,
        "missing ['joint_2']",
    ),
    "future": (lambda c: replace(c, stamp_ns=c.stamp_ns + 200 * MS), Refusal.FUTURE_STAMP, "0.200 s in the future"),
    "stale": (lambda c: replace(c, stamp_ns=c.stamp_ns - 2000 * MS), Refusal.STALE, "all 10 rows are past"),
    "no step": (lambda c: replace(c, step_ns=0), Refusal.BAD_STEP, "the contract's 0.1 s"),
    "backward": (lambda c: replace(c, step_ns=-STEP_NS), Refusal.BAD_STEP, "-0.1 s"),
    "another step": (lambda c: replace(c, step_ns=STEP_NS // 2), Refusal.BAD_STEP, "0.05 s"),
    "too long": (lambda c: replace(c, positions=np.zeros((101, 3))), Refusal.TOO_LONG, "longer than max_chunk_s, 10 s"),
    "far": (
        lambda c: replace(c, positions=c.positions + np.array([0, 0, 0.5])),
        Refusal.FAR_FROM_MEASURED,
        "'joint_2', 0.500",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_first_chunk_moves_nothing(make_bench, name):
    """Before the first good chunk nothing is commanded, and the text says what is wrong."""
    spoil, code, text = BAD[name]
    bench = make_bench()
    verdict = bench.executor.offer(spoil(bench.chunk(np.zeros((10, 3)))), bench.now_ns)
    assert verdict.code is code
    assert text in verdict.text
    bench.run(0.2)
    assert bench.executor.mode is Mode.IDLE
    assert not bench.commands
    assert bench.executor.refused == 1
    assert bench.executor.last_refusal == verdict


@pytest.mark.parametrize("name", [n for n in BAD if n != "far"])
def test_a_bad_chunk_in_motion_changes_nothing(make_bench, name):
    """Of two arms in the same motion, the one that refuses chunks moves exactly as the other."""
    spoil = BAD[name][0]
    alone, bothered = make_bench(), make_bench()
    for bench in (alone, bothered):
        bench.executor.offer(bench.chunk(np.linspace(0, 0.5, 10)[:, None] * np.ones(3)), bench.now_ns)
        bench.run(0.3)
    for _ in range(20):
        alone.run(0.05)
        assert not bothered.executor.offer(spoil(bothered.chunk(np.full((10, 3), 0.4))), bothered.now_ns).accepted
        bothered.run(0.05)
    assert np.array_equal(alone.positions, bothered.positions)
    assert alone.modes == bothered.modes


def test_older_and_repeated_chunks_are_refused(make_bench):
    """Two policies that run at once, or a topic that repeats itself, do not pull the arm back and forth."""
    bench = make_bench()
    first = bench.chunk(np.zeros((10, 3)))
    assert bench.executor.offer(first, bench.now_ns).accepted
    assert bench.executor.offer(first, bench.now_ns).code is Refusal.DUPLICATE
    verdict = bench.executor.offer(replace(first, stamp_ns=first.stamp_ns - 50 * MS, chunk_id=9), bench.now_ns)
    assert verdict.code is Refusal.OLDER_THAN_CURRENT
    assert "0.050 s older" in verdict.text
    again = replace(first, chunk_id=10)
    assert bench.executor.offer(again, bench.now_ns).accepted, (
        "a second chunk of one observation, another instruction's"
    )


def test_joints_are_matched_by_name(make_bench):
    """A checkpoint that orders joints differently must not send the elbow's rows to the wrist."""
    bench = make_bench()
    rows = np.tile([0.1, 0.2, 0.3], (10, 1))
    chunk = replace(bench.chunk(rows[:, [2, 0, 1]]), joint_names=("joint_2", "joint_0", "joint_1"))
    assert bench.executor.offer(chunk, bench.now_ns).accepted
    bench.run(1.5)
    assert np.allclose(bench.positions[-1], [0.1, 0.2, 0.3])


def test_nothing_moves_before_the_arm_was_measured(make_bench):
    """Without a joint state there is nowhere to start from: zeros would be a jump."""
    bench = make_bench()
    assert bench.executor.reset()
    chunk = bench.chunk(np.zeros((10, 3)))
    verdict = bench.executor.offer(chunk, bench.now_ns)
    assert verdict.code is Refusal.NOT_READY
    assert "no joint state was received yet" in verdict.text
    assert bench.executor.reason is Reason.NO_MEASURED_STATE
    assert not bench.executor.measured(np.array([0.0, np.nan, 0.0]), bench.now_ns)
    assert "not finite" in bench.executor.offer(chunk, bench.now_ns).text
    assert not bench.executor.measured(np.zeros(2), bench.now_ns)
    assert bench.executor.measured(np.zeros(3), bench.now_ns)
    assert bench.executor.offer(chunk, bench.now_ns).accepted


def test_a_state_from_long_ago_is_no_place_to_start_from(make_bench):
    """The arm may have been moved by hand since."""
    bench = make_bench()
    bench.now_ns += 400 * MS
    verdict = bench.executor.offer(bench.chunk(np.zeros((10, 3))), bench.now_ns)
    assert verdict.code is Refusal.NOT_READY
    assert "no joint state for more than 0.3 s" in verdict.text
