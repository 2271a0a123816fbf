# SPDX-License-Identifier: Apache-2.0
"""An executor on a bench: what it commanded, tick by tick."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from swiftvla_ros.contract import Limits
from swiftvla_ros.motion import ChunkExecutor, Command, ExecutorConfig, JointChunk, LimitReport, Mode, check_limits

MS = 1_000_000
TICK_NS = 10 * MS
STEP_NS = 100 * MS
T0 = 5_000 * MS


@dataclass
class Bench:
    """Ticks an executor at 100 Hz, as a driver that follows every command at once would."""

    executor: ChunkExecutor
    limits: Limits
    now_ns: int = T0
    commands: list[Command] = field(default_factory=list)
    modes: list[Mode] = field(default_factory=list)
    chunks: int = 0

    def chunk(
        self,
        plan: Callable[[np.ndarray], np.ndarray] | np.ndarray,
        *,
        stamp_ns: int | None = None,
        rows: int = 10,
        instruction: int = 0,
    ) -> JointChunk:
        """The chunk of an observation made now, or at a stamp: rows of a motion over seconds since T0, or rows."""
        stamp_ns = self.now_ns if stamp_ns is None else stamp_ns
        self.chunks += 1
        if callable(plan):
            plan = plan((stamp_ns + np.arange(rows) * STEP_NS - T0) / 1e9)
        return JointChunk(stamp_ns, STEP_NS, np.asarray(plan, dtype=float), self.chunks, instruction)

    def run(self, seconds: float, *, measured: bool = True) -> None:
        """Tick for so long; ``measured`` False: joint states have stopped."""
        for _ in range(round(seconds * 100)):
            self.now_ns += TICK_NS
            if measured and self.commands:
                self.executor.measured(self.commands[-1].position, self.now_ns)
            elif measured and self.executor.mode is Mode.IDLE:
                self.executor.measured(self.seeded, self.now_ns)
            command = self.executor.tick(self.now_ns)
            self.modes.append(self.executor.mode)
            if command is not None:
                self.commands.append(command)

    def seed(self, position: np.ndarray) -> None:
        """Begin at rest at a measured pose."""
        self.seeded = np.asarray(position, dtype=float)
        self.executor.seed(self.seeded, self.now_ns)

    def stream(self, plan: Callable[[np.ndarray], np.ndarray], seconds: float, latency_s: float = 0.1) -> None:
        """Chunks of a motion each 0.1 s, each arriving ``latency_s`` after its observation."""
        waiting: list[JointChunk] = []
        for _ in range(round(seconds * 10)):
            waiting.append(self.chunk(plan))
            if self.now_ns - waiting[0].stamp_ns >= latency_s * 1e9 - 1:
                self.executor.offer(waiting.pop(0), self.now_ns)
            self.run(0.1)

    @property
    def positions(self) -> np.ndarray:
        """[N, J] what was commanded."""
        return np.array([c.position for c in self.commands])

    @property
    def times_s(self) -> np.ndarray:
        """[N] when, since T0."""
        return np.array([c.stamp_ns - T0 for c in self.commands]) / 1e9

    def report(self) -> LimitReport:
        """Whether the commands kept the limits."""
        stamps = np.array([c.stamp_ns for c in self.commands])
        return check_limits(stamps, self.positions, self.limits, self.executor.joint_names, tick_s=0.01)


def arm_limits(joints: int = 3) -> Limits:
    """Limits of a desktop arm."""
    one = np.ones(joints)
    return Limits(-1.7 * one, 1.7 * one, 2.5 * one, 12.0 * one, 150.0 * one)


def bench(joints: int = 3, at: float = 0.0, **config: object) -> Bench:
    """Make a bench; keywords go to the executor's configuration."""
    limits = arm_limits(joints)
    names = tuple(f"joint_{i}" for i in range(joints))
    settings = {"step_s": 0.1, "state_timeout_s": 0.3, **config}
    made = Bench(ChunkExecutor(limits, names, ExecutorConfig(**settings)), limits)
    made.seed(np.full(joints, at))
    return made


@pytest.fixture
def make_bench() -> Callable[..., Bench]:
    """Make a bench with three joints; keywords go to the executor's configuration."""
    return bench


@pytest.fixture(scope="session")
def make_bench_once() -> Callable[..., Bench]:
    """The same for tests that make one for each of many examples."""
    return bench
