# SPDX-License-Identifier: Apache-2.0
"""policy_node without weights and without torch: the chunks of a bag over DDS."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swiftvla_ros.contract import load_contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.msg import ActionChunk, PolicyState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.replay.recorded import read_run
from swiftvla_ros.srv import SetInstruction


@pytest.mark.usefixtures("sensors")
def test_recorded_chunks_need_neither_weights_nor_torch(graph: Any, stored: Path, tmp_path: Path) -> None:
    """Protects a graph without weights: recorded rows come in order and say so, and torch is absent."""
    (tmp_path / "torch.py").write_text("raise ImportError('torch is blocked by the test')\n")
    for name in load_contract("so101_sim").camera_names:
        graph.start("camera_node", f"camera_{name}", robot="so101_sim", camera=name)
    graph.start("joint_state_node", robot="so101_sim")
    node = graph.start(
        "policy_node", robot="so101_sim", policy_from=str(stored), environment={"PYTHONPATH": str(tmp_path)}
    )
    chunks = graph.listen(ActionChunk, "action_chunk", qos.CHUNK)
    states = graph.listen(PolicyState, "policy_state", qos.LATCHED)
    graph.wait_until(lambda: states.messages, "policy_node is active", 90)
    refused = graph.call(SetInstruction, "set_instruction", SetInstruction.Request(instruction="water the plants"))
    assert not refused.success
    assert "pick up the red block" in refused.message
    recorded = read_run(Bag(stored)).chunks
    request = SetInstruction.Request(instruction=recorded[0].instruction)
    assert graph.call(SetInstruction, "set_instruction", request).success
    graph.wait_until(lambda: len(chunks.messages) >= 3, "chunks come", 30)
    for chunk, old in zip(chunks.messages[:3], recorded, strict=False):
        np.testing.assert_array_equal(np.reshape(chunk.positions, (chunk.rows, -1)), old.positions)
        assert chunk.checkpoint_sha256 == f"recorded:{old.checkpoint_sha256}"
    assert states.last.device == "recorded"
    assert "libtorch" not in Path(f"/proc/{node.process.pid}/maps").read_text(), "torch is not loaded"
