# SPDX-License-Identifier: Apache-2.0
"""The executor's tick at the contract's rate, timed, with messages that go nowhere: what this machine can hold."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from rclpy.clock import ROSClock
from rclpy.serialization import serialize_message

from swiftvla_ros.contract import Contract
from swiftvla_ros.motion import ChunkExecutor, JointChunk
from swiftvla_ros.nodes.commands.outputs import output_of
from swiftvla_ros.nodes.ros.control_loop import ControlLoop

_NS = 1_000_000_000
_MEASURE_S = 0.9
_WARM_UP = 10
_ROWS = 10
_SWING_RAD = 0.05
# The socket and the executor's state take as long again as what is timed here, so half a period has to be left.
_SHARE_OF_PERIOD = 0.5
_MISSED_SHARE = 0.01


@dataclass(frozen=True)
class HeldRate:
    """How ``rate_hz`` was held: ``late_ms`` says how long after it was due a tick was over (p50, p99)."""

    rate_hz: float
    late_ms: tuple[float, float]
    missed_share: float

    @property
    def held(self) -> bool:
        """Whether ticks were in time, with room for what is not measured."""
        return self.missed_share <= _MISSED_SHARE and self.late_ms[1] <= _SHARE_OF_PERIOD * 1000 / self.rate_hz

    def __str__(self) -> str:
        return (
            f"a tick is over {self.late_ms[0]:.2f} ms after it was due (p99 {self.late_ms[1]:.2f} of "
            f"{1000 / self.rate_hz:g}), {self.missed_share:.1%} missed"
        )


def measure_rate(contract: Contract, priority: int = 0, seconds: float = _MEASURE_S) -> HeldRate:
    """Tick an executor that follows chunks of a small swing, and write its commands into messages that nobody gets."""
    clock, failures = ROSClock(), list[Exception]()
    trial = _Trial(contract, clock)
    for _ in range(_WARM_UP):  # what the first ticks load is not timed
        trial.tick()
    trial.loop = ControlLoop(clock, 1 / contract.control.rate_hz, trial.tick, failures.append, priority=priority)
    time.sleep(seconds)
    trial.loop.end()
    if failures:
        raise failures[0]
    return trial.result(contract.control.rate_hz)


class _Trial:
    """What the executor node does in a tick, and between ticks with chunks and joint states; sockets aside."""

    def __init__(self, contract: Contract, clock: ROSClock) -> None:
        self.loop: ControlLoop | None = None
        self._clock = clock
        self._core = ChunkExecutor.from_contract(contract)
        self._outputs = [output_of(contract, part, serialize_message) for part in contract.command_parts]
        limits, self._rest = contract.limits, contract.rest
        middle = (limits.min_position + limits.max_position) / 2
        self._swing = np.where(limits.continuous | (self._rest < middle), _SWING_RAD, -_SWING_RAD)
        self._step_ns = round(contract.policy.step_s * _NS)
        self._begin_ns = clock.now().nanoseconds
        self._core.seed(self._rest, self._begin_ns)
        self._chunks = 0
        self._due: list[int] = []
        self._over: list[int] = []

    def tick(self) -> None:
        """Command, and take in a chunk and a joint state when they are due."""
        now_ns = self._clock.now().nanoseconds
        command = self._core.tick(now_ns)
        if command is not None:
            for output in self._outputs:
                output.send(command, now_ns)
        if self.loop is not None:
            self._due.append(self.loop.due_ns)
            self._over.append(self._clock.now().nanoseconds)
        if now_ns >= self._begin_ns + self._chunks * self._step_ns:
            self._core.measured(self._rest if command is None else command.position, now_ns)
            self._chunks += 1
            times_s = (now_ns - self._begin_ns + self._step_ns * np.arange(_ROWS)[:, None]) / _NS
            rows = self._rest + self._swing * (1 - np.cos(3 * times_s))
            self._core.offer(JointChunk(now_ns, self._step_ns, rows, chunk_id=self._chunks), now_ns)

    def result(self, rate_hz: float) -> HeldRate:
        """What was noted."""
        due, over = np.array(self._due), np.array(self._over)
        if not len(due):
            return HeldRate(rate_hz, (math.inf, math.inf), 1.0)
        wanted = 1 + round((due[-1] - due[0]) / _NS * rate_hz)
        p50, p99 = np.percentile((over - due) / 1e6, (50, 99)).tolist()
        return HeldRate(rate_hz, (p50, p99), max(0, wanted - len(due)) / wanted)
