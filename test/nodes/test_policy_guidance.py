# SPDX-License-Identifier: Apache-2.0
"""policy_node with chunk guidance: it continues the rows that executor_state tells of."""

import math
from typing import Any

import numpy as np
import pytest

from swiftvla_ros.contract import load_contract
from swiftvla_ros.msg import ActionChunk, ExecutorState, PolicyState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import to_time
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.srv import SetInstruction

CONTRACT = load_contract("so101_sim")
OFF = 0.02


def follow(chunk: ActionChunk, now_ns: int) -> ExecutorState:
    """Return what an executor says that has followed ``chunk`` since it came."""
    state = ExecutorState(mode=ExecutorState.FRESH, chunk_id=chunk.chunk_id, speed_scale=1.0)
    state.header.stamp = to_time(now_ns)
    state.chunk_stamp = chunk.header.stamp
    state.chunk_first_command = chunk.inference_end
    step_ns = chunk.step.sec * 1_000_000_000 + chunk.step.nanosec
    state.row = (now_ns - stamp_ns(chunk.header.stamp)) / step_ns
    state.commanded_position = [math.nan] * 6
    state.joint_names = chunk.joint_names
    # Off the chunk's own rows, as an arm is that comes from an older path.
    state.planned_rows = [position + OFF for position in chunk.positions]
    return state


@pytest.mark.usefixtures("sensors")
def test_chunks_continue_what_the_executor_follows(graph: Any, checkpoint: Any) -> None:
    """Protects the wiring: once delays are measured, chunks tell their frozen rows, and begin like the older one."""
    for name in CONTRACT.camera_names:
        graph.start("camera_node", f"camera_{name}", robot="so101_sim", camera=name)
    graph.start("joint_state_node", robot="so101_sim")
    options = {
        "robot": "so101_sim",
        "checkpoint": str(checkpoint),
        "threads": 1,
        "second_opinion": False,
        "guidance": "identity",
    }
    graph.start("policy_node", max_rate_hz=5.0, **options)
    chunks = graph.listen(ActionChunk, "action_chunk", qos.CHUNK)
    states = graph.listen(PolicyState, "policy_state", qos.LATCHED)
    executor = graph.node.create_publisher(ExecutorState, "executor_state", qos.STATE)
    graph.wait_until(lambda: states.messages, "policy_node is active", 90)
    assert graph.call(SetInstruction, "set_instruction", SetInstruction.Request(instruction="touch red")).success

    def guided() -> list[ActionChunk]:
        if chunks.messages:
            executor.publish(follow(chunks.last, graph.node.get_clock().now().nanoseconds))
        return [chunk for chunk in chunks.messages if chunk.guidance]

    graph.wait_until(lambda: len(guided()) >= 2, "chunks are guided", 60)
    plain = [chunk for chunk in chunks.messages if not chunk.guidance]
    # The first three delays: two of a warm-up, and one to know.
    assert len(plain) >= 3
    assert all(chunk.frozen_rows == 0 for chunk in plain)
    chunk = guided()[0]
    assert chunk.guidance == "identity"
    assert 1 <= chunk.frozen_rows < chunk.rows
    rows, told = (np.array(a).reshape(-1, 6) for a in (chunk.positions, chunk.rows_ahead))
    np.testing.assert_allclose(rows[0], told[0], atol=0.1)

    def told_of(older: ActionChunk) -> np.ndarray:
        place = (stamp_ns(chunk.header.stamp) - stamp_ns(older.header.stamp)) / 1e9 / CONTRACT.policy.step_s
        columns = np.array(older.positions).reshape(older.rows, -1).T
        return np.array([np.interp(place, np.arange(older.rows), column) for column in columns]) + OFF

    # Of the chunk before, or the one before that where it began before the executor had told of the last.
    older = [told_of(c) for c in chunks.messages if 0 < chunk.chunk_id - c.chunk_id <= 2]
    assert min(np.abs(told[0] - row).max() for row in older) < 1e-4
