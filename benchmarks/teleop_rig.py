# SPDX-License-Identifier: Apache-2.0
"""A person, a leader arm, the teleoperation core and the executor, tick by tick without ROS; for tests and figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.executor_codes import ChunkSource
from swiftvla_ros.motion import ChunkExecutor, Command, JointChunk
from swiftvla_ros.teleop.engagement import Engagement, Follower
from swiftvla_ros.teleop.jog import Jog
from swiftvla_ros.teleop.leader import LeaderArm
from swiftvla_ros.teleop.prediction import PredictionSettings

Array = NDArray[np.float64]
Motion = Callable[[float], Array]

MS = 1_000_000
BEGIN_NS = 100_000 * MS
ENCODER_RAD = 2 * np.pi / 4096


@dataclass
class Link:
    """How a leader's poses come: so many a second, late by ``latency_s`` and an exponential ``jitter_s``."""

    rate_hz: float = 50.0
    latency_s: float = 0.003
    jitter_s: float = 0.002


@dataclass
class TeleopRig:
    """An arm that is where it is told to be, ticked at 100 Hz, led by a person's ``motion`` [J] over seconds.

    ``policy`` (of seconds) is another source of chunks, ten a second. ``leader_pose`` may be replaced at any time; None
    says nothing.
    """

    contract: Contract
    motion: Motion | None = None
    policy: Motion | None = None
    far: str = "approach"
    link: Link = field(default_factory=Link)
    jogs: bool = False
    prediction: PredictionSettings | None = None
    ns: int = BEGIN_NS
    commands: list[Command] = field(default_factory=list)
    sources: list[ChunkSource] = field(default_factory=list)
    chunks: int = 0

    def __post_init__(self) -> None:
        """Stand at rest."""
        self.executor = ChunkExecutor.from_contract(self.contract)
        self.arm = self.contract.rest.copy()
        self.leader, self.jog = LeaderArm(self.contract, self.prediction), Jog(self.contract)
        hand = self.jog if self.jogs else self.leader
        self.engagement = Engagement(
            self.contract, hand, self.far, self.executor.take_over, lambda: self.executor.give_back(self.ns)
        )
        self._rng = np.random.default_rng(1)
        self._on_the_way: list[tuple[int, int, Array]] = []
        self._sent_ns = self._policy_ns = BEGIN_NS
        self.run(0.05)

    @property
    def seconds(self) -> float:
        """Time since the begin."""
        return (self.ns - BEGIN_NS) / 1e9

    def run(self, seconds: float) -> None:
        """Tick on."""
        for _ in range(round(seconds * 100)):
            self._tick()

    def _tick(self) -> None:
        self.ns += 10 * MS
        self.executor.measured(self.arm, self.ns)
        command = self.executor.tick(self.ns)
        if command is not None:
            self.arm = command.position
            self.commands.append(command)
            self.sources.append(self.executor.chunk_source)
        core = self.executor
        self.engagement.follower(
            Follower(self.arm, core.mode, core.reason, core.reason_text, core.chunk_source), self.ns
        )
        self._lead()
        self.engagement.watch(self.ns)
        self._drive()

    def _lead(self) -> None:
        """Poses leave the leader, and those that arrived by now become chunks."""
        period = round(1e9 / self.link.rate_hz)
        while self._sent_ns + period <= self.ns:
            self._sent_ns += period
            if self.motion is not None:
                pose = np.round(self.motion((self._sent_ns - BEGIN_NS) / 1e9) / ENCODER_RAD) * ENCODER_RAD
                late_s = self.link.latency_s + self._rng.exponential(self.link.jitter_s)
                self._on_the_way.append((self._sent_ns + round(late_s * 1e9), self._sent_ns, pose))
        while self._on_the_way and self._on_the_way[0][0] <= self.ns:
            _, stamp_ns, pose = self._on_the_way.pop(0)
            self.leader.take(pose, stamp_ns, self.ns)
        rows = self.engagement.rows(self.ns)
        if rows is not None:
            self.chunks += 1
            chunk = JointChunk(rows.stamp_ns, rows.step_ns, rows.positions, self.chunks, source=ChunkSource.OPERATOR)
            self.executor.offer(chunk, self.ns)

    def _drive(self) -> None:
        """A policy's chunk, computed from what was seen 0.12 s ago."""
        if self.policy is None or self.ns - self._policy_ns < 100 * MS:
            return
        self._policy_ns, stamp_ns = self.ns, self.ns - 120 * MS
        rows = np.array([self.policy((stamp_ns - BEGIN_NS) / 1e9 + 0.1 * k) for k in range(12)])
        self.executor.offer(JointChunk(stamp_ns, 100 * MS, rows, self.ns // MS, 1, "policy"), self.ns)

    @property
    def times_s(self) -> Array:
        """[N] of each command, since the begin."""
        return np.array([c.stamp_ns - BEGIN_NS for c in self.commands]) / 1e9

    @property
    def positions(self) -> Array:
        """[N, J] what was commanded."""
        return np.array([c.position for c in self.commands])
