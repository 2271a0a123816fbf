# SPDX-License-Identifier: Apache-2.0
"""A person takes the arm over from a policy and gives it back: who is followed, and without a jump."""

from collections.abc import Callable

import numpy as np
import pytest

from swiftvla_ros.contract.executor_codes import ChunkSource, Mode, Reason, Refusal
from swiftvla_ros.motion import JointChunk


def swing(s: np.ndarray) -> np.ndarray:
    """A policy's motion [N, 3] over seconds."""
    return 0.4 * np.sin(1.5 * s)[:, None] * np.array([1.0, -0.5, 0.2])


def operated(bench, target: np.ndarray | float, number: int) -> JointChunk:
    """A person's chunk: 20 ms rows that stay at one place."""
    rows = np.tile(np.broadcast_to(target, 3), (20, 1))
    return JointChunk(bench.now_ns, 20_000_000, rows, number, source=ChunkSource.OPERATOR)


def test_an_operator_is_followed_over_a_policy_and_the_policy_after_the_operator(make_bench: Callable):
    """Protects take-over: the policy is refused by name while the operator holds, and both seams keep the limits."""
    bench = make_bench()
    bench.stream(swing, 1.5)
    assert bench.executor.chunk_source is ChunkSource.POLICY
    here = bench.commands[-1].position.copy()
    for k in range(30):
        assert bench.executor.offer(operated(bench, here + 0.1, k + 1), bench.now_ns).accepted
        bench.run(0.02)
        refused = bench.executor.offer(bench.chunk(swing), bench.now_ns)
        assert refused.code is Refusal.OPERATOR_HOLDS
        assert "give_back" in refused.text
    assert bench.executor.chunk_source is ChunkSource.OPERATOR
    np.testing.assert_allclose(bench.commands[-1].position, here + 0.1, atol=0.03)
    seen_before = bench.chunk(np.tile(here, (10, 1)))
    bench.run(0.02)
    bench.executor.give_back(bench.now_ns)
    assert bench.executor.offer(seen_before, bench.now_ns).code is Refusal.OPERATOR_HOLDS
    bench.run(0.02)
    late = JointChunk(bench.now_ns - 30_000_000, 20_000_000, np.tile(here, (20, 1)), 99, source=ChunkSource.OPERATOR)
    assert bench.executor.offer(late, bench.now_ns).code is Refusal.OLDER_THAN_CURRENT, "it takes nothing over again"
    assert bench.executor.offer(bench.chunk(np.tile(here, (10, 1))), bench.now_ns).accepted
    assert bench.executor.chunk_source is ChunkSource.POLICY
    bench.run(0.5)
    assert bench.report().ok


def test_silence_gives_nothing_back(make_bench: Callable):
    """Protects a person's hand: a dead operator's node ends in a hold that no policy breaks, nor a reset."""
    bench = make_bench()
    assert bench.executor.offer(operated(bench, 0.2, 1), bench.now_ns).accepted
    bench.run(3.0)
    assert bench.executor.mode is Mode.HOLD
    assert bench.executor.offer(bench.chunk(swing), bench.now_ns).code is Refusal.OPERATOR_HOLDS
    assert bench.executor.reset()
    bench.run(0.1)
    assert bench.executor.offer(bench.chunk(swing), bench.now_ns).code is Refusal.OPERATOR_HOLDS
    bench.executor.give_back(bench.now_ns)
    bench.run(0.1)
    assert bench.executor.offer(bench.chunk(np.full((10, 3), bench.positions[-1])), bench.now_ns).accepted


@pytest.mark.parametrize("far_start", ["refuse", "approach"])
def test_a_far_change_waits_for_rest(make_bench: Callable, far_start: str):
    """Protects the arm's neighbours: a far leader does not pull an arm over that a policy moves."""
    bench = make_bench(far_start=far_start)
    bench.stream(swing, 1.0)
    far = bench.executor.offer(operated(bench, 1.2, 1), bench.now_ns)
    assert far.code is Refusal.FAR_FROM_MEASURED
    assert "joint_" in far.text
    bench.executor.take_over()
    assert bench.executor.reason is Reason.TAKEN_OVER
    assert bench.executor.offer(bench.chunk(swing), bench.now_ns).code is Refusal.OPERATOR_HOLDS
    bench.run(1.0)
    assert bench.executor.mode is Mode.HOLD
    again = bench.executor.offer(operated(bench, 1.2, 2), bench.now_ns)
    assert again.accepted is (far_start == "approach")
    bench.run(1.0)
    assert bench.report().ok


def test_ids_are_compared_with_the_same_source_s(make_bench: Callable):
    """Protects against two operators: the second one's lower ids are refused; a policy's ids say nothing of them."""
    bench = make_bench()
    bench.stream(swing, 0.5)
    here = bench.commands[-1].position
    assert bench.executor.offer(operated(bench, here, 7), bench.now_ns).accepted
    bench.run(0.02)
    assert bench.executor.offer(operated(bench, here, 2), bench.now_ns).code is Refusal.NOT_MONOTONIC


def test_a_policys_chunk_that_was_taken_and_not_begun_is_not_begun_over_a_person(make_bench: Callable):
    """Protects a hand: taken over, and the arm moved, between a chunk and the first command to it; nothing moves."""
    bench = make_bench()
    bench.seed(np.zeros(3))
    assert bench.executor.offer(bench.chunk(np.zeros((10, 3))), bench.now_ns).accepted
    bench.executor.take_over()
    bench.executor.start()
    bench.now_ns += 10_000_000
    bench.executor.measured(np.full(3, 0.3), bench.now_ns)
    for _ in range(30):
        command = bench.executor.tick(bench.now_ns)
        assert command is None or (command.position == 0.3).all()
        bench.now_ns += 10_000_000
        bench.executor.measured(np.full(3, 0.3), bench.now_ns)
    assert bench.executor.operator_holds
    refused = bench.executor.offer(bench.chunk(np.full((10, 3), 0.3)), bench.now_ns)
    assert refused.code is Refusal.OPERATOR_HOLDS
