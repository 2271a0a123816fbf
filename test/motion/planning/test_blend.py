# SPDX-License-Identifier: Apache-2.0
"""Rows of chunks that overlap, a gripper that is open or closed, and a start from far away."""

import numpy as np
import pytest

from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.control import BlendConfig, Gripper, GripperBinary
from swiftvla_ros.motion import ExecutorConfig, JointChunk, Mode, Reason, Refusal
from swiftvla_ros.motion.planning.blend import MOST_CHUNKS, ChunkBlend
from swiftvla_ros.motion.planning.chunk_planner import join_rows

MS = 1_000_000
STEP_NS = 100 * MS
KINDS = ("smooth", "replace", "linear", "cosine", "ensemble")
GRIPPER = Gripper(joint="joint_2", open=0.6, closed=-0.1, binary=GripperBinary(close_below=0.2, open_above=0.35))


def _chunk(stamp_ms: int, value: float, number: int = 1, instruction: int = 0) -> JointChunk:
    return JointChunk(stamp_ms * MS, STEP_NS, np.full((10, 1), value), number, instruction)


def _times(chunk: JointChunk) -> np.ndarray:
    return chunk.stamp_ns + np.arange(len(chunk.positions)) * STEP_NS


def _second(blend: ChunkBlend, instruction: int = 0) -> np.ndarray:
    """Rows [6, 1] that are followed from 1.5 s on, where a chunk of ones meets one of twos."""
    one, two = _chunk(1000, 1.0), _chunk(1300, 2.0, 2, instruction)
    positions, reaching = blend.blended(one, _times(one), one.positions, None, (), 1000 * MS)
    older = join_rows(one, _times(one), positions, None, 1000 * MS)
    positions, _ = blend.blended(two, _times(two), two.positions, older, reaching, 1500 * MS)
    rows = join_rows(two, _times(two), positions, older, 1500 * MS)
    assert (rows.times_ns[:3] // MS).tolist() == [1300, 1400, 1500]
    return rows.positions[:, 0]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("smooth", [2, 2, 2, 2, 2, 2, 2]),
        ("replace", [2, 2, 2, 2, 2, 2, 2]),
        ("linear", [1, 1, 1, 1.25, 1.5, 1.75, 2]),
        ("cosine", [1, 1, 1, 1.146447, 1.5, 1.853553, 2]),
        ("ensemble", [1.377541, 1.377541, 1.377541, 1.377541, 1.377541, 1.377541, 1.377541, 2]),
    ],
)
def test_what_each_kind_makes_of_the_overlap(kind, expected):
    """By hand: ones until 1.9 s, twos from 1.3 s on, met at 1.5 s; 0.4 s to cross over, and a decay of 0.5."""
    rows = _second(ChunkBlend(BlendConfig(kind=kind, over_s=0.4, decay=0.5)))
    assert np.allclose(rows[: len(expected)], expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_another_instruction_is_not_blended(kind):
    """What was meant for another task is no part of the mean."""
    assert np.allclose(_second(ChunkBlend(BlendConfig(kind=kind, over_s=0.4, decay=0.5)), instruction=1), 2.0)


def test_an_ensemble_forgets():
    """Chunks whose rows are past weigh nothing and cost nothing, and however fast they come only so many are kept."""
    blend, reaching = ChunkBlend(BlendConfig(kind="ensemble")), ()
    for k in range(300):
        chunk = _chunk(1000 + 20 * k, 1.0, k)
        _, reaching = blend.blended(chunk, _times(chunk), chunk.positions, None, reaching, chunk.stamp_ns)
        assert all(times[-1] > chunk.stamp_ns for _, times, _ in reaching)
    for k in range(100):
        chunk = _chunk(8000 + k, 1.0, 300 + k)
        _, reaching = blend.blended(chunk, _times(chunk), chunk.positions, None, reaching, chunk.stamp_ns)
    assert len(reaching) == MOST_CHUNKS


def test_nothing_before_a_rest_counts(make_bench):
    """An ensemble's mean is of what was said since the arm stood still, though the older rows reach as far."""
    bench = make_bench(blend={"kind": "ensemble"}, start_tolerance_rad=1.0)
    bench.seed(np.zeros(3))
    assert bench.executor.offer(bench.chunk(np.full((30, 3), 0.5)), bench.now_ns).accepted
    bench.run(0.15)
    bench.executor.stop()
    bench.run(0.6)
    bench.executor.start()
    here = bench.positions[-1].copy()
    assert bench.executor.mode is Mode.HOLD
    assert here.max() < 0.3
    assert bench.executor.offer(bench.chunk(np.tile(here, (30, 1))), bench.now_ns).accepted
    bench.run(0.1)
    assert bench.executor.offer(bench.chunk(np.tile(here, (30, 1))), bench.now_ns).accepted
    bench.run(1.0)
    np.testing.assert_allclose(bench.positions[-1], here, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_limits_and_arrives(make_bench, kind):
    """Noisy chunks and a changed mind, whichever way they are joined."""
    rng = np.random.default_rng(0)
    bench = make_bench(blend={"kind": kind})
    bench.stream(lambda t: np.tile(0.3 * t[:, None], 3) + 0.02 * rng.standard_normal((len(t), 3)), 1.0)
    bench.stream(lambda t: np.full((len(t), 3), -0.4) + 0.005 * rng.standard_normal((len(t), 3)), 3.0)
    bench.run(1.5)
    assert bench.report().ok
    assert np.abs(bench.positions[-1] + 0.4).max() < 0.03


def _grip(bench, value, joint=2, rows=10):
    """Offer a chunk that stands still but for the grippers' columns, and follow it for a while."""
    positions = np.tile(bench.executor._follower.state[0], (rows, 1))
    positions[:, joint] = value
    verdict = bench.executor.offer(bench.chunk(positions), bench.now_ns)
    bench.run(0.1)
    return verdict


def test_a_binary_gripper_is_open_or_closed_and_remembers(make_bench):
    """Hysteresis across chunks: between the thresholds it stays what it was, and a stream of chunks lets it arrive."""
    bench = make_bench(grippers=(GRIPPER,))
    bench.seed(np.array([0.0, 0.0, 0.6]))
    for value, end in ((0.5, 0.6), (0.3, 0.6), (0.1, -0.1), (0.25, -0.1), (0.34, -0.1), (0.4, 0.6), (0.21, 0.6)):
        for _ in range(8):
            assert _grip(bench, value).accepted
        assert bench.positions[-1, 2] == pytest.approx(end, abs=2e-3), value
    assert bench.positions[:, 2].min() > -0.13
    assert bench.positions[:, 2].max() < 0.63
    assert bench.report().ok


def test_two_grippers_switch_each_by_its_own_thresholds(make_bench):
    """One closes while the other opens, from rest and in motion, and each remembers its own state."""
    other = Gripper(joint="joint_1", open=0.5, closed=0.0, binary=GripperBinary(close_below=0.1, open_above=0.4))
    bench = make_bench(grippers=(GRIPPER, other), blend={"kind": "linear"})
    bench.seed(np.array([0.0, 0.0, 0.6]))
    for values, ends in (((0.5, 0.1), (0.5, -0.1)), ((0.3, 0.3), (0.5, -0.1)), ((0.05, 0.4), (0.0, 0.6))):
        for _ in range(12):
            assert _grip(bench, values, [1, 2]).accepted
        assert bench.positions[-1, 1:] == pytest.approx(ends, abs=2e-3), values
    assert bench.report().ok


def test_a_gripper_between_closes_or_opens_from_where_it_is(make_bench):
    """A first chunk is not refused because the gripper is half open: it goes from there."""
    bench = make_bench(grippers=(GRIPPER,), start_tolerance_rad=0.05)
    bench.seed(np.array([0.0, 0.0, 0.3]))
    for _ in range(8):
        assert _grip(bench, 0.0).accepted
    assert bench.positions[-1, 2] == pytest.approx(-0.1, abs=2e-3)
    assert bench.report().ok


def test_a_far_start_is_approached_in_its_own_time(make_bench):
    """approach: at least so long, inside the limits, nothing followed meanwhile; then the next chunk is."""
    bench = make_bench(far_start="approach", approach_s=2.0)
    target = np.array([0.9, -0.2, 0.1])
    assert bench.executor.offer(bench.chunk(np.tile(target, (10, 1)) + np.arange(10)[:, None]), bench.now_ns).accepted
    assert bench.executor.reason_text == "approaching chunk 1"
    bench.run(0.5)
    verdict = bench.executor.offer(bench.chunk(np.tile(target, (10, 1))), bench.now_ns)
    assert verdict.code is Refusal.NOT_READY
    assert "approaches where chunk 1 begins" in verdict.text
    bench.run(1.3)
    assert bench.executor.mode in (Mode.FRESH, Mode.DECELERATING)
    assert np.abs(bench.positions[-1] - target).max() > 1e-4
    bench.run(0.5)
    assert bench.executor.mode is Mode.HOLD
    assert bench.executor.reason is Reason.NO_CHUNK
    assert np.allclose(bench.positions[-1], target, atol=1e-3)
    assert max(np.abs(c.velocity).max() for c in bench.commands) < 1.0
    assert bench.executor.offer(bench.chunk(np.tile(target, (10, 1))), bench.now_ns).accepted
    assert bench.report().ok


def test_an_approach_can_be_stopped(make_bench):
    """Stop does not wait for its end."""
    bench = make_bench(far_start="approach", approach_s=5.0)
    bench.executor.offer(bench.chunk(np.full((10, 3), 1.0)), bench.now_ns)
    bench.run(2.0)
    bench.executor.stop()
    bench.run(0.6)
    assert bench.executor.mode is Mode.HOLD
    assert bench.positions[-1].max() < 0.8
    assert bench.report().ok


def test_a_policy_beside_the_one_that_is_followed_waits_until_the_arm_rests(make_bench):
    """Another checkpoint, or ids that run backwards: refused in motion, taken over from a hold."""
    for checkpoint, number, code in (("b", 9, Refusal.OTHER_CHECKPOINT), ("a", 1, Refusal.NOT_MONOTONIC)):
        bench = make_bench()
        still = np.zeros((10, 3))
        assert bench.executor.offer(JointChunk(bench.now_ns, STEP_NS, still, 5, 0, "a"), bench.now_ns).accepted
        bench.run(0.3)
        other = JointChunk(bench.now_ns, STEP_NS, still, number, 0, checkpoint)
        assert bench.executor.offer(other, bench.now_ns).code is code
        bench.run(2.0)
        assert bench.executor.mode is Mode.HOLD
        other = JointChunk(bench.now_ns, STEP_NS, still, number, 0, checkpoint)
        assert bench.executor.offer(other, bench.now_ns).accepted


def test_the_distance_by_which_a_limit_bent_the_plan_is_told(make_bench):
    """limit_excess: of rows outside the range, and of a plan that is too fast."""
    bench = make_bench()
    rows = np.zeros((10, 3))
    rows[4:, 0] = 2.0
    bench.executor.offer(bench.chunk(rows), bench.now_ns)
    assert np.allclose(bench.executor.limit_excess, [0.3, 0.0, 0.0], atol=1e-5)
    bench.run(1.5)
    assert bench.executor.limit_excess[0] > 0.3
    assert not bench.executor.limit_excess[1:].any()


def test_the_contract_says_it_all():
    """Every key of control and gripper reaches the executor's configuration."""
    contract = load_contract("so101_sim")
    config = ExecutorConfig.from_contract(contract)
    assert (config.blend.kind, config.far_start, config.switched) == ("smooth", "refuse", ())
    assert config.tracking is not None
    assert config.frozen_joint is not None
    assert (config.tracking.tolerance_rad, config.frozen_joint.moved_rad) == (0.5, 0.2)
    assert config.grippers == contract.grippers
    control = contract.control.model_copy(update={"far_start": "approach", "tracking": None, "fresh_s": 0.7})
    config = ExecutorConfig.from_contract(contract.with_keys(control=control))
    assert (config.far_start, config.approach_s, config.tracking, config.fresh_s) == ("approach", 3.0, None, 0.7)
