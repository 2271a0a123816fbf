# SPDX-License-Identifier: Apache-2.0
"""The policy, and what it is told."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")

from fault_bounds import HOLD, NO_CHUNKS, ROWS_END_S, beside
from lifecycle_msgs.msg import Transition

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]


def test_policy_hung(system: Any, fault: Any) -> None:
    """A policy that hangs: the rows that are left, then hold; its first chunk afterwards is too old to be followed."""
    row = fault("policy hung", "SIGSTOP to policy_node")
    system.send(signal.SIGSTOP, "policy")
    row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS)
    system.send(signal.SIGCONT, "policy")
    row.recovers("SIGCONT")


def test_policy_killed(system: Any, fault: Any) -> None:
    """A policy that is killed: the rows that are left, then hold; a new process takes over without a jump."""
    row = fault("policy killed", "SIGKILL to policy_node")
    system.send(signal.SIGKILL, "policy")
    row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS)
    held = np.array(system.states.last.commanded_position)
    system.nodes["policy"].wait()
    system.start_policy()
    system.wait(lambda: system.policy_states.messages, "a new policy is active", 120)
    np.testing.assert_array_equal(system.states.last.commanded_position, held)
    assert system.instruct("pick up the red block").success
    row.recovers("a new process and an instruction")


def test_policy_slow(system: Any, fault: Any) -> None:
    """Inference that is held up a quarter of the time: chunks are joined at their stamps, and the arm goes on."""
    row = fault("policy slow", "policy_node gets the processor for 75 ms of every 100 ms")
    chunk = system.states.last.chunk_id
    with system.slowed("policy", run_s=0.075, stop_s=0.025):
        row.goes_on(lambda: system.states.last.chunk_id > chunk + 6, "chunks are followed", late_chunks=True)
    latency_s = dict(zip(system.policy_states.last.latency_stages, system.policy_states.last.latency_s, strict=True))
    row.safe += f", chunks take {latency_s['inference']:.1f} s"
    row.recovers()


def test_policy_floods(system: Any, fault: Any) -> None:
    """Chunks as fast as a processor can send them: the arm follows them inside its limits, and no tick is missed."""
    system.ready()
    with beside("flooding_policy.py", 0.3, "same") as printed:
        system.wait(lambda: "flooding" in printed(), "the flood begins", 60)
        row = fault("policy flooding", "chunks as fast as a process can send them")
        # Not stopped: who is, for longer than its lease, may be lost to the others for minutes (docs/faults.md).
        system.change_state("policy", Transition.TRANSITION_DEACTIVATE)
        accepted = system.states.last.chunks_accepted
        row.goes_on(lambda: system.states.last.chunks_accepted > accepted + 200, "the flood is followed")
        row.safe += f", ticks at most {row.longest_tick_s():.2f} s apart"
        # The sender and the executor take a processor each; what else runs may cost a tick, never a pause.
        assert row.longest_tick_s() < 0.3
    system.wait(lambda: system.states.last.mode == HOLD, "the arm holds")
    system.change_state("policy", Transition.TRANSITION_ACTIVATE)
    assert system.instruct("pick up the red block").success
    row.recovers("the flood ends, the policy is activated and told what to do")


def test_instruction_of_a_megabyte(system: Any, fault: Any) -> None:
    """A text that no tokenizer was made for is refused, with its size, while the arm moves on."""
    row = fault("1 MB instruction", "set_instruction with 1 000 000 characters")
    before = system.policy_states.last.instruction_id
    answer = system.instruct("pick " * 200_000)
    assert not answer.success
    assert len(answer.message) < 500
    chunk = system.states.last.chunk_id
    row.goes_on(lambda: system.states.last.chunk_id > chunk + 2, "chunks are followed", "refused in the answer")
    assert system.policy_states.last.instruction_id == before
    row.recovers()


def test_instruction_flood(system: Any, fault: Any) -> None:
    """Words that change faster than a chunk is computed: no chunk of outdated words is followed, so the arm holds."""
    row = fault("instruction flood", "set_instruction without pause, 20 calls at a time")
    before = system.policy_states.last.instruction_id
    with beside("flooding_operator.py"):
        system.wait(lambda: system.policy_states.last.instruction_id > before + 100, "the flood has come", 60)
        row.begins()
        row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS)
    answer = system.instruct("pick up the red block")
    assert answer.success
    row.recovers("one instruction")
    assert system.policy_states.last.instruction_id == answer.instruction_id
