# SPDX-License-Identifier: Apache-2.0
"""What is told of ticks: all of them up to the usual rate, fewer beyond, and never a change too late."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from swiftvla_ros.contract import contract_from_text, load_contract
from swiftvla_ros.motion import ChunkExecutor, JointChunk, Mode
from swiftvla_ros.nodes.parts.executor_report import ExecutorReport
from swiftvla_ros.observation.message_fields import stamp_ns

NS = 1_000_000_000
BASE = load_contract("so101_sim")
STATE_HZ = 200.0
TICKS = 100


def told(control_hz: float, stopped_at: int = 0) -> list[tuple[int, int]]:
    """Follow a chunk, each tick a tenth early or late, and stop at one, if any: what was told, as (tick, mode)."""
    contract = contract_from_text(BASE.text.replace("  rate_hz: 100.0", f"  rate_hz: {control_hz}"), Path(BASE.path))
    sent: list[tuple[int, int]] = []

    def publish(message: Any) -> None:
        sent.append((round((stamp_ns(message.header.stamp) - NS) * control_hz / NS), message.mode))

    node: Any = SimpleNamespace(
        contract=contract,
        active=True,
        get_logger=lambda: SimpleNamespace(info=lambda _text: None),
        publisher=lambda *_: SimpleNamespace(publish=publish),
    )
    core = ChunkExecutor.from_contract(contract)
    report = ExecutorReport(node, core, STATE_HZ, shadow=False)
    core.seed(contract.rest, NS)
    rows = contract.rest + 0.2 * np.linspace(0, 1, 10)[:, None]
    assert core.offer(JointChunk(NS, NS // 10, rows, chunk_id=1), NS).accepted
    for k in range(1, TICKS + 1):
        now_ns = NS + round((k + 0.1 * (-1) ** k) * NS / control_hz)
        if k == stopped_at:
            core.stop()
        report.tick(core.tick(now_ns), now_ns, resting=False)
    return sent


def test_up_to_the_usual_rate_every_tick_is_told() -> None:
    """Protects: a recording at 200 Hz holds every command, also those of ticks that came early."""
    assert [tick for tick, _ in told(200.0)] == list(range(1, TICKS + 1))


def test_beyond_it_ticks_are_left_out_evenly() -> None:
    """Protects: at 500 Hz and 1 kHz no more than 200 a second cost the arm its time."""
    assert [tick for tick, _ in told(500.0)] == list(range(1, TICKS + 1, 3))
    assert [tick for tick, _ in told(1000.0)] == list(range(1, TICKS + 1, 5))


def test_a_change_is_told_at_its_tick() -> None:
    """Protects: replay, the black box and the operator's screen read from it when an arm was stopped."""
    assert (33, Mode.DECELERATING) in told(1000.0, stopped_at=33)
