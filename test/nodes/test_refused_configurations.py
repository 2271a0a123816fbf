# SPDX-License-Identifier: Apache-2.0
"""Nodes that can't work refuse to start: exit status 2, and a message that names what is wrong."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REFUSED = 2


def corrupt_weights(checkpoint: Path, folder: Path) -> dict[str, Any]:
    """Cut the weights of a copy in half."""
    broken = folder / "broken"
    shutil.copytree(checkpoint, broken)
    weights = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    return {"checkpoint": str(broken)}


def other_joints(checkpoint: Path, folder: Path) -> dict[str, Any]:
    """Write a contract whose wrist has another name."""
    from swiftvla_ros.contract import load_contract

    contract = load_contract("so101_sim")
    for name in ("so101.urdf", "so101_sim.urdf"):
        if (contract.path.parent / name).exists():
            shutil.copy(contract.path.parent / name, folder)
    text = contract.text.replace("name: wrist_roll", "name: hand_roll")
    (folder / "other.yaml").write_text(text)
    return {"checkpoint": str(checkpoint), "robot": str(folder / "other.yaml")}


POLICY_FAULTS: dict[str, tuple[Callable[[Path, Path], dict[str, Any]], str]] = {
    "no checkpoint": (lambda _c, folder: {"checkpoint": str(folder / "nothing")}, "nothing"),
    "empty checkpoint parameter": (lambda _c, _f: {"checkpoint": ""}, "parameter checkpoint is empty"),
    "corrupt safetensors": (corrupt_weights, "model.safetensors"),
    "checkpoint for other joints": (other_joints, "hand_roll"),
    "cuda without a GPU": (lambda c, _f: {"checkpoint": str(c), "device": "cuda"}, "cuda"),
    "unknown precision": (lambda c, _f: {"checkpoint": str(c), "precision": "int3"}, "float32 or bfloat16"),
    "unknown guidance": (lambda c, _f: {"checkpoint": str(c), "guidance": "rtc"}, "'vjp', 'identity', 'trained'"),
    "rate of zero": (lambda c, _f: {"checkpoint": str(c), "max_rate_hz": 0.0}, "max_rate_hz"),
}


@pytest.mark.parametrize("fault", POLICY_FAULTS)
def test_policy_node_names_the_fault(graph: Any, checkpoint: Path, tmp_path: Path, fault: str) -> None:
    """A policy that can't be loaded ends with status 2 and a text for people, never with a traceback or silence."""
    if fault == "cuda without a GPU":
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
    make, named = POLICY_FAULTS[fault]
    parameters = {"robot": "so101_sim", **make(checkpoint, tmp_path)}
    process = graph.start("policy_node", **parameters)
    assert process.wait() == REFUSED, process.output()
    assert "can't configure" in process.output()
    assert named in process.output()
    assert "Traceback" not in process.output()


@pytest.mark.parametrize(
    ("executable", "parameters", "named"),
    [
        ("camera_node", {"robot": "so101_sim", "camera": "side"}, "front, wrist"),
        ("camera_node", {"robot": "so101_sim", "camera": 5}, "camera"),
        ("joint_state_node", {}, "parameter robot is empty"),
        ("trajectory_executor_node", {"robot": "no_such_robot"}, "no_such_robot"),
        ("sim_robot_node", {"robot": "so101_sim", "publish_clock": True, "use_sim_time": True}, "publish_clock"),
    ],
)
def test_other_nodes_name_the_fault(graph: Any, executable: str, parameters: dict[str, Any], named: str) -> None:
    """A wrong parameter is named with what to write."""
    process = graph.start(executable, **parameters)
    assert process.wait() == REFUSED, process.output()
    assert named in process.output()
    assert "Traceback" not in process.output()


def test_an_output_that_is_not_installed_is_refused(graph: Any, tmp_path: Path) -> None:
    """FollowJointTrajectory without control_msgs: told at configure, with the output that the controller takes, too."""
    if importlib.util.find_spec("control_msgs") is not None:
        pytest.skip("control_msgs is installed")
    from swiftvla_ros.contract import load_contract

    contract = load_contract("so101_sim")
    shutil.copy(contract.path.parent / "so101.urdf", tmp_path)
    text = contract.text.replace("output: forward_position", "output: follow_joint_trajectory")
    (tmp_path / "follow.yaml").write_text(text)
    process = graph.start("trajectory_executor_node", robot=str(tmp_path / "follow.yaml"))
    assert process.wait() == REFUSED, process.output()
    assert "needs control_msgs" in process.output()
    assert "write output: joint_trajectory" in process.output()
    assert "Traceback" not in process.output()
