# SPDX-License-Identifier: Apache-2.0
"""The latency of a run that goes on: its newest chunks, each with what the executor did with it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.executor_codes import ChunkSource
from swiftvla_ros.monitoring.latency_advice import ComputedBy, LatencyAdvice, RollingTiming, RunTiming, advise
from swiftvla_ros.observation.message_fields import ChunkMessage, ExecutorTick, PolicyReport

# Chunks whose first command is awaited; with more, the executor does not follow them.
_MOST_AWAITED = 8


class RunningLatency:
    """Chunks and the executor's ticks, as they come, into the timing of the newest chunks.

    Another instruction, another checkpoint or a clock that went back begins anew: in between nobody wanted chunks.
    A chunk has arrived when the executor says that it took it over.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._rolling = RollingTiming()
        self._awaited: OrderedDict[int, ChunkMessage] = OrderedDict()
        self._of: tuple[int, str] | None = None
        self._newest_ns = self._stale = 0
        self._by = ComputedBy(0)

    def chunk(self, chunk: ChunkMessage) -> None:
        """Take a chunk of the policy's."""
        of = chunk.instruction_id, chunk.checkpoint_sha256
        if of != self._of or chunk.stamp_ns < self._newest_ns:
            self._rolling, self._of = RollingTiming(), of
            self._awaited.clear()
        self._newest_ns = chunk.stamp_ns
        self._by = replace(self._by, rows=len(chunk.positions))
        self._awaited[chunk.stamp_ns] = chunk
        while len(self._awaited) > _MOST_AWAITED:
            self._add(self._awaited.popitem(last=False)[1])

    def tick(self, tick: ExecutorTick) -> None:
        """Take note of the chunk that is followed; those before it were overtaken, or refused."""
        if tick.chunk_source != ChunkSource.POLICY or not tick.first_command_ns:
            return
        for ns in [ns for ns in self._awaited if ns <= tick.chunk_stamp_ns]:
            chunk = self._awaited.pop(ns)
            followed = ns == tick.chunk_stamp_ns
            self._add(chunk, tick.taken_ns, tick.first_command_ns) if followed else self._add(chunk)

    def policy(self, report: PolicyReport, stale: int) -> None:
        """Take note of how chunks are computed, and of how many observations were too old so far."""
        self._stale = stale
        names = ("runtime", "device", "precision", "guidance", "threads")
        self._by = replace(self._by, **{name: getattr(report, name) for name in names})

    def settings(self, *, cores: int, flow_steps: int, max_rate_hz: float, max_delay_rows: int) -> None:
        """Take note of what no message says; 0 where nobody knows."""
        self._by = replace(
            self._by, cores=cores, flow_steps=flow_steps, max_rate_hz=max_rate_hz, max_delay_rows=max_delay_rows
        )

    def told(self) -> tuple[RunTiming, LatencyAdvice]:
        """How the newest chunks went, and what limits them."""
        timing = self._rolling.timing()
        return timing, advise(timing, self._contract, self._by)

    def _add(self, chunk: ChunkMessage, received_ns: int = 0, first_command_ns: int = 0) -> None:
        stamps = replace(chunk, received_ns=received_ns).stamps_ns(first_command_ns)
        self._rolling.add(chunk.stamp_ns, stamps, self._stale)
