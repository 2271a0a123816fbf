# SPDX-License-Identifier: Apache-2.0
"""A run as numbers: what plots and viewers show is what the messages said."""

from typing import Any

import numpy as np
import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.latency_stages import CHAIN, durations_s
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.viewing.run_summary import RunCollector, summarize

SECOND, TICK, MS = 10**9, 10**7, 10**6
IDLE, FRESH, HOLD = 0, 1, 4
FAR, DONE, PENDING = 8, 1, 0


def tick(messages: Any, ns: int, position: np.ndarray, **changes: Any) -> Any:
    """Make an executor_state with some fields of its own."""
    state = messages.executor_state(ns, position)
    for name, value in changes.items():
        setattr(state, name, value)
    return state


def test_arrays_hold_what_was_commanded_and_measured(contract: Contract, messages: Any) -> None:
    """Protects: a joint's plot is the joint's, and nothing is drawn where nothing was commanded."""
    collector, joints = RunCollector(contract), len(contract.joint_names)
    for i in range(5):
        mode = IDLE if i < 2 else FRESH
        state = tick(messages, SECOND + i * TICK, contract.rest + i, mode=mode, speed_scale=0.1 * i)
        collector.take("executor_state", 0, state)
        collector.take("observation/state", 0, messages.measured(SECOND + i * TICK, contract.rest - i))
    run = collector.flush()
    assert run.ticks.t_ns.tolist() == [SECOND + i * TICK for i in range(5)]
    assert np.isnan(run.ticks.commanded[:2]).all()
    assert np.array_equal(run.ticks.commanded[4], contract.rest + 4)
    assert np.array_equal(run.measured.position[3], contract.rest - 3)
    assert run.ticks.speed_scale == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert run.ticks.velocity_clamps.shape == (5, joints)
    assert run.span_ns == (SECOND, SECOND + 4 * TICK)


def test_changes_are_told_once(contract: Contract, messages: Any) -> None:
    """Protects: modes, seams, refusals, instructions and verdicts appear where they happened, also across pieces."""
    collector = RunCollector(contract)
    collector.take("action_chunk", SECOND, messages.chunk(SECOND, SECOND, SECOND, SECOND))
    far = {"chunks_refused": 1, "last_refusal": FAR, "last_refusal_text": "0.5 rad away"}
    seam = {"chunk_first_command": messages.stamp(SECOND + TICK), "chunk_stamp": messages.stamp(SECOND)}
    changes: list[dict[str, Any]] = [{"mode": IDLE, "reason": 2}, seam, seam, far, far, {**far, "mode": HOLD}]
    pieces = []
    for i, change in enumerate(changes):
        collector.take("executor_state", 0, tick(messages, SECOND + i * TICK, contract.rest, **change))
        collector.take("task_verdict", 0, messages.verdict(SECOND + i * TICK, DONE if i > 3 else PENDING))
        pieces.append(collector.flush())
    assert [(m.t_ns, m.mode) for p in pieces for m in p.modes] == [
        (SECOND, "IDLE"),
        (SECOND + TICK, "FRESH"),
        (SECOND + 5 * TICK, "HOLD"),
    ]
    assert [(s.t_ns, s.chunk_id) for p in pieces for s in p.seams] == [(SECOND + TICK, 1)]
    events = [(e.t_ns, e.kind, e.name, e.text) for p in pieces for e in p.events]
    assert events == [
        (SECOND, "instruction", "1", "pick up the red block"),
        (SECOND, "verdict", "PENDING", ""),
        (SECOND + 3 * TICK, "refusal", "FAR_FROM_MEASURED", "0.5 rad away"),
        (SECOND + 4 * TICK, "verdict", "DONE", ""),
    ]


def test_a_chunks_latency_is_split_into_its_stages(contract: Contract, messages: Any) -> None:
    """Protects: each bar is the time between two stamps, from the newest camera's on, and none is counted twice."""
    collector = RunCollector(contract)
    chunk = messages.chunk(SECOND, SECOND + 20 * MS, SECOND + 21 * MS, SECOND + 81 * MS)
    collector.take("action_chunk", SECOND + 83 * MS, chunk)
    (found,) = collector.flush().chunks
    stages = durations_s(CHAIN, found.stamps_ns(SECOND + 90 * MS))
    assert [1e3 * stages[name] for name in CHAIN] == pytest.approx([20, 1, 60, 2, 7])
    assert CHAIN[-1] not in durations_s(CHAIN, found.stamps_ns())  # overtaken: no command followed it
    assert found.positions.shape == (1, len(contract.joint_names))


def test_another_robots_bag_is_refused_by_name(contract: Contract, messages: Any, tmp_path: Any) -> None:
    """Protects: columns are never drawn under another joint's name."""
    state = messages.executor_state(SECOND, contract.rest)
    state.joint_names = [*contract.joint_names[1:], "thumb"]
    with BagWriter(tmp_path / "bag", contract) as writer:
        writer.write_message("/executor_state", state, SECOND)
    with BagWriter(tmp_path / "measured", contract) as writer:
        measured = messages.measured(SECOND, contract.rest)
        measured.name = measured.name[::-1]
        writer.write_message("/observation/state", measured, SECOND)
    with pytest.raises(BagError, match=r"observation/state: got joints .*, expected"):
        summarize(Bag(tmp_path / "measured"))
    with pytest.raises(BagError, match=r"thumb.*the contract"):
        summarize(Bag(tmp_path / "bag"))


def test_an_empty_run_has_arrays_without_rows(contract: Contract) -> None:
    """Protects: a bag in which nothing happened yet."""
    run = RunCollector(contract).flush()
    assert run.ticks.commanded.shape == (0, len(contract.joint_names))
    assert run.span_ns == (0, 0)
