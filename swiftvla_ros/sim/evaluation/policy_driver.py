# SPDX-License-Identifier: Apache-2.0
"""A policy drives the simulated arm, tick by tick, through the executor that drives the real one."""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.executor_codes import Mode
from swiftvla_ros.motion.chunk import NS, Command, JointChunk, OfferResult
from swiftvla_ros.motion.executor import ChunkExecutor
from swiftvla_ros.observation.observation import Observation
from swiftvla_ros.policy import Policy
from swiftvla_ros.policy.continuation.chunk_delay import MeasuredDelay
from swiftvla_ros.policy.continuation.committed_rows import CommittedRows, Following
from swiftvla_ros.sim.evaluation.policy_with_4d import PolicyWith4D
from swiftvla_ros.sim.observe import policy_images
from swiftvla_ros.sim.world import SimWorld

MAX_LATENCY_S = 0.15
"""Longest latency that a measured inference counts as: a busy machine must not decide an evaluation."""


class DrivenExecutor(Protocol):
    """What follows chunks: :class:`~swiftvla_ros.motion.executor.ChunkExecutor`, or something to compare it with."""

    accepted: int
    refused: int

    @property
    def mode(self) -> Mode:
        """What it does."""

    @property
    def chunk_id(self) -> int:
        """The chunk being followed."""

    @property
    def row(self) -> float:
        """Place between its rows at the last tick."""

    def planned_rows(self) -> NDArray[np.float64]:
        """What it commands at the times of that chunk's rows [n, J], from row 0 on; empty where it can't tell."""

    def measured(self, position: NDArray[np.float64], now_ns: int, /) -> bool:
        """Take note of the measured positions."""

    def offer(self, chunk: JointChunk, now_ns: int, /) -> OfferResult:
        """Follow a chunk from now on."""

    def tick(self, now_ns: int) -> Command | None:
        """The command for now."""


class PolicyDriver:
    """Pictures at the cameras' rate, inference on each that finds the policy free, one limited command a tick.

    A ``PolicyWith4D`` begins a new episode; it gets pictures once per policy step
    and watches all of them.

    Parameters
    ----------
    policy
        Loaded for the world's contract.
    world
        The simulation, as it was reset.
    instruction
        What the policy is told.
    latency_s
        Time from an observation to its chunk, in simulation; None is what each inference really takes, at most
        :data:`MAX_LATENCY_S`.
    period_s
        Time between observations; None is the cameras' rate, or the policy's step where it watches.
    follower
        What follows the chunks; None: the executor of the world's contract.

    Raises
    ------
    ValueError
        The policy watches, and ``period_s`` is not its step.

    Attributes
    ----------
    executor
        What follows the chunks.
    command
        The last command; None before the first chunk.
    chunk
        The last chunk that was taken over; None before the first.
    """

    def __init__(
        self,
        policy: Policy,
        world: SimWorld,
        instruction: str,
        latency_s: float | None = None,
        period_s: float | None = None,
        follower: DrivenExecutor | None = None,
    ) -> None:
        contract = world.contract
        self._policy, self._world, self._instruction, self._latency_s = policy, world, instruction, latency_s
        self._watching = policy if isinstance(policy, PolicyWith4D) else None
        if self._watching is not None:
            if period_s not in (None, policy.step_s):
                raise ValueError(f"period_s {period_s}: geometry features are made for one look each {policy.step_s} s")
            period_s = policy.step_s
            self._watching.reset()
        self._tick_ns = round(NS / contract.control.rate_hz)
        slowest_hz = min(camera.rate_hz for camera in contract.cameras)
        self._frame_ns = round(NS * (1 / slowest_hz if period_s is None else period_s))
        self._now_ns = NS  # a stamp of zero means "unset" elsewhere
        self._next_frame_ns = self._now_ns
        self._waiting: tuple[int, JointChunk] | None = None
        self.executor: DrivenExecutor
        if follower is None:
            executor = ChunkExecutor.from_contract(contract)
            executor.seed(world.state(), self._now_ns)
            self.executor = executor
        else:
            self.executor = follower
        self.command: Command | None = None
        self.chunk: JointChunk | None = None
        self._instruction_id = 1
        # The node has measured the delay long before most episodes begin, so there is no warm-up here.
        delay = MeasuredDelay(warm_up=0)
        if latency_s is not None:
            delay.add(latency_s)
        self._committed = CommittedRows(policy.step_s, policy.max_executed_rows, delay)
        self._ticked_ns = self._now_ns
        self._delay_s: float | None = None

    @property
    def tick_s(self) -> float:
        """Simulated time of a tick."""
        return self._tick_ns / NS

    def tell(self, instruction: str) -> None:
        """Follow other words from now on; a chunk of the old ones that is still being computed is dropped."""
        self._instruction, self._waiting = instruction, None
        self._instruction_id += 1

    def tick(self) -> None:
        """Look, think, command, and let the physics run for one tick."""
        now_ns, world = self._now_ns, self._world
        state = world.state()
        self.executor.measured(state, now_ns)
        if self._waiting is not None and now_ns >= self._waiting[0]:
            self._hand_over(self._waiting[1], now_ns)
            self._waiting = None
        if now_ns >= self._next_frame_ns:
            self._next_frame_ns += self._frame_ns
            free = self._waiting is None
            images = policy_images(world) if free or self._watching is not None else {}
            if self._watching is not None:
                self._watching.watch(images)
            if free:
                self._waiting = self._infer(now_ns, Observation(images, state, self._instruction))
        command = self.executor.tick(now_ns)
        if command is not None:
            self.command = command
            world.command(command.position)
        world.advance(self.tick_s)
        self._ticked_ns = now_ns
        self._now_ns += self._tick_ns

    def _hand_over(self, chunk: JointChunk, now_ns: int) -> None:
        if self.executor.offer(chunk, now_ns).accepted:
            self.chunk = chunk
            self._delay_s = (now_ns - chunk.stamp_ns) / NS
            self._committed.published(chunk.chunk_id, chunk.stamp_ns, chunk.positions, chunk.instruction_id, now_ns)

    def _infer(self, now_ns: int, observation: Observation) -> tuple[int, JointChunk]:
        """The chunk for the world as it is now, and when it will be there."""
        executor, rows = self.executor, self._committed
        told = Following(self._ticked_ns, executor.mode, executor.chunk_id, executor.row, executor.planned_rows())
        rows.following(told, self._delay_s)
        executed, planned = rows.ahead(now_ns, self._instruction_id)
        begin = time.perf_counter()
        positions = self._policy.infer(observation, executed=executed, planned=planned)
        took_s = time.perf_counter() - begin
        latency_s = min(took_s, MAX_LATENCY_S) if self._latency_s is None else self._latency_s
        chunk = JointChunk(
            now_ns,
            round(self._policy.step_s * NS),
            positions,
            chunk_id=now_ns // self._tick_ns,
            instruction_id=self._instruction_id,
        )
        return now_ns + round(latency_s * NS), chunk
