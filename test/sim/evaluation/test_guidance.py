# SPDX-License-Identifier: Apache-2.0
"""Guided policies in simulation, and the plain queue that the executor is compared with."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plain_queue import PlainQueue
from swiftvla_ros.motion.chunk import JointChunk
from swiftvla_ros.motion.executor import ChunkExecutor
from swiftvla_ros.policy import Observation, Policy
from swiftvla_ros.sim.evaluation.policy_driver import PolicyDriver
from swiftvla_ros.sim.world import SimWorld

MS = 1_000_000
T = 1_000 * MS


class Drifting(Policy):
    """A guided policy whose chunks lead away from the arm slowly, each at another rate; it keeps what it was told."""

    guidance, max_executed_rows, step_s = "vjp", 9, 0.1

    def __init__(self) -> None:
        self.told: list[tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]] = []
        self.truth: list[NDArray[np.float64]] = []
        self.driver: PolicyDriver | None = None
        self.ticks = 0

    def infer(
        self,
        observation: Observation,
        *,
        noise: NDArray[np.float32] | None = None,
        executed: NDArray[np.float64] | None = None,
        planned: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        assert noise is None
        self.told.append((executed, planned))
        if self.driver is not None and isinstance(self.driver.executor, ChunkExecutor) and executed is not None:
            assert planned is not None
            now_ns = T + 10 * MS * self.ticks
            self.truth.append(self.driver.executor.plan_rows(now_ns, 100 * MS, len(executed) + len(planned)))
        rate = 0.01 * (1 + len(self.told) % 3)
        # Away from the joints' limits.
        return observation.state + rate * np.where(observation.state > 0.5, -1, 1) * np.arange(10)[:, None]


def test_a_guided_policy_is_told_what_the_arm_will_do(world: SimWorld) -> None:
    """Protects what chunks continue: rows that are told as executed are those that the executor then commands."""
    world.reset(3)
    policy = Drifting()
    policy.driver = driver = PolicyDriver(policy, world, "pick up the red block", latency_s=0.25)
    for policy.ticks in range(120):
        driver.tick()
    assert policy.told[0] == (None, None)
    told = [np.concatenate([executed, planned]) for executed, planned in policy.told if executed is not None]
    assert len(told) == len(policy.truth) >= 2
    # 250 ms of delay: rows at 0, 100 and 200 ms.
    assert all(executed is None or len(executed) == 3 for executed, _ in policy.told)
    for rows, truth in zip(told, policy.truth, strict=True):
        assert len(rows) >= 6
        # Its chunks pull the arm back to where it was measured; between rows so bent a path is not quite straight.
        np.testing.assert_allclose(rows, truth, atol=0.01)


def test_the_first_chunk_of_a_guided_policy_is_its_own(world: SimWorld) -> None:
    """Protects a start from rest: an arm that stands has nothing under way, and nothing is made up."""
    world.reset(3)
    policy = Drifting()
    driver = PolicyDriver(policy, world, "pick up the red block", latency_s=0.6)
    for _ in range(50):
        driver.tick()
    assert policy.told == [(None, None)]


def test_a_plain_queue_is_replaced_by_the_newer_chunk() -> None:
    """Protects the baseline: rows by the clock, past ones dropped, the newer chunk at once, the last row for ever."""
    rows = np.arange(4.0)[:, None]
    queue, line = PlainQueue("hold"), PlainQueue("line")
    assert queue.tick(T) is None
    for follower in (queue, line):
        follower.offer(JointChunk(T, 100 * MS, rows, chunk_id=1), T)

    def at(follower: PlainQueue, ms: int) -> float:
        command = follower.tick(T + ms * MS)
        assert command is not None
        return float(command.position[0])

    assert [at(queue, ms) for ms in (0, 90, 100, 250, 900)] == [0.0, 0.0, 1.0, 2.0, 3.0]
    assert [at(line, ms) for ms in (0, 50, 250, 900)] == [0.0, 0.5, 2.5, 3.0]
    queue.offer(JointChunk(T + 200 * MS, 100 * MS, rows + 10.0, chunk_id=2), T + 300 * MS)
    assert at(queue, 310) == 11.0
    assert (queue.chunk_id, queue.accepted, queue.refused) == (2, 2, 0)
    assert queue.row == pytest.approx(1.1)
