# SPDX-License-Identifier: Apache-2.0
"""The viewer shows the running graph: its topics, in a recording that is whole when it is ended."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SECOND = 10**9


def test_the_running_system_is_recorded(graph: Any, wait_until: Callable[..., None], tmp_path: Path) -> None:
    """Protects: `swiftvla view --live` sees every topic of a run, and SIGTERM leaves a whole file."""
    pytest.importorskip("rerun", reason="the viewer is not installed: pip install '.[view]'")
    import numpy as np
    from rerun.chunk import RrdReader
    from sensor_msgs.msg import Image, JointState

    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.msg import ActionChunk, ExecutorState, PolicyState
    from swiftvla_ros.nodes.ros import qos
    from swiftvla_ros.nodes.ros.messages import doubles, header, rgb_message, to_time

    contract, node = load_contract("so101_sim"), graph.node
    names = list(contract.joint_names)
    executor = node.create_publisher(ExecutorState, "executor_state", qos.EXECUTOR_STATE)
    policy = node.create_publisher(PolicyState, "policy_state", qos.LATCHED)
    chunks = node.create_publisher(ActionChunk, "action_chunk", qos.CHUNK)
    state = node.create_publisher(JointState, "observation/state", qos.STATE)
    front = node.create_publisher(Image, "observation/front", qos.IMAGE)
    sent = 0

    def publish() -> None:
        nonlocal sent
        sent += 1
        ns = node.get_clock().now().nanoseconds
        rest = doubles(contract.rest)
        state.publish(JointState(header=header(ns), name=names, position=rest))
        front.publish(rgb_message(np.zeros((96, 96, 3), np.uint8), ns, "front"))
        policy.publish(PolicyState(header=header(ns), ready=True, instruction="wave", instruction_id=1))
        chunk = ActionChunk(header=header(ns), joint_names=names, rows=1, positions=rest, chunk_id=sent)
        chunk.step.nanosec, chunk.instruction, chunk.instruction_id = SECOND // 10, "wave", 1
        chunks.publish(chunk)
        told = ExecutorState(header=header(ns), mode=ExecutorState.FRESH, chunk_id=sent, joint_names=names)
        told.commanded_position, told.chunk_stamp, told.chunk_first_command = rest, to_time(ns), to_time(ns + sent)
        told.speed_scale = 1.0
        executor.publish(told)

    timer = node.create_timer(0.05, publish)
    out, log = tmp_path / "live.rrd", tmp_path / "log"
    command = [sys.executable, "-u", "-m", "swiftvla_ros.cli.main", "view", "--live", "--save", str(out)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: "showing" in log.read_text() or process.poll() is not None, "the view runs", 90.0)
        # The view's node has its subscriptions; now two looks of it at what comes.
        wait_until(lambda: front.get_subscription_count() > 0, "the view listens", 20.0)
        seen_at = sent
        wait_until(lambda: sent > seen_at + 20, "a second of messages", 20.0)
        process.terminate()
        assert process.wait(30.0) == 0, log.read_text()
    finally:
        node.destroy_timer(timer)
        if process.poll() is None:
            process.kill()
    rows: dict[str, int] = {}
    for chunk in RrdReader(out).stream():
        name = str(chunk.entity_path).lstrip("/")
        rows[name] = rows.get(name, 0) + chunk.num_rows
    for entity in ("joints/gripper/commanded", "joints/gripper/measured", "joints/gripper/planned/0", "speed_scale",
                   "joints/gripper/seam", "observation/front", "observation/front/chunk", "executor/mode",
                   "told/instruction", "policy", "latency/inference"):  # fmt: skip
        assert rows.get(entity, 0) > 0, f"{entity} is missing: {sorted(rows)}"
    assert rows["joints/gripper/commanded"] > 10
