# SPDX-License-Identifier: Apache-2.0
"""A simulated system whose contract asks for a pre-flight: nothing moves before one, nor after a red one."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from easier_robot import easier_robot

pytest.importorskip("swiftvla_ros.sim.backend", reason="mujoco is not installed: pip install mujoco")

from std_srvs.srv import Trigger

from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.store import digest_of
from swiftvla_ros.msg import ActionChunk, ExecutorState, PolicyState, PreflightReport
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.policy.checkpoint import STATS, open_checkpoint
from swiftvla_ros.srv import SetInstruction

MOVING = (ExecutorState.FRESH, ExecutorState.TAIL, ExecutorState.DECELERATING)


class System:
    """All nodes but the pre-flight's, on a contract that requires one, and a checkpoint that may be edited."""

    def __init__(self, graph: Any, checkpoint: Path, folder: Path) -> None:
        self.graph, self.checkpoint = graph, folder / "checkpoint"
        shutil.copytree(checkpoint, self.checkpoint)
        self.robot = easier_robot(folder)
        with Path(self.robot).open("a", encoding="utf-8") as contract:
            contract.write("\n  require_preflight: true\n")
        self.contract = load_contract(self.robot)
        graph.start("sim_robot_node", robot=self.robot, seed=3)
        for name in self.contract.camera_names:
            graph.start("camera_node", f"camera_{name}", robot=self.robot, camera=name, repeated_for_s=0.0)
        graph.start("joint_state_node", robot=self.robot)
        self.executor = graph.start("trajectory_executor_node", robot=self.robot)
        graph.start("policy_node", robot=self.robot, checkpoint=str(self.checkpoint), threads=1, second_opinion=False)
        self.chunks = graph.listen(ActionChunk, "action_chunk", qos.CHUNK)
        self.states = graph.listen(ExecutorState, "executor_state", qos.EXECUTOR_STATE)
        self.reports = graph.listen(PreflightReport, "preflight", qos.LATCHED)
        policy = graph.listen(PolicyState, "policy_state", qos.LATCHED)
        graph.wait_until(lambda: policy.messages, "policy_node is active", 90)
        answer = graph.call(
            SetInstruction, "set_instruction", SetInstruction.Request(instruction="touch the red block")
        )
        assert answer.success

    def refused(self, why: str) -> None:
        """Wait for chunks, of which the executor's log says this, while the arm stands."""
        self.chunks.clear()
        self.graph.wait_until(lambda: len(self.chunks.messages) > 5, "chunks come", 40)
        self.graph.wait_until(lambda: why in self.executor.output(), f"'{why}' in the executor's log", 10)
        assert self.states.last.mode not in MOVING


@pytest.fixture(scope="module")
def system(graph: Any, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> System:
    """Start everything once for the tests of this file, which follow one another."""
    return System(graph, checkpoint, tmp_path_factory.mktemp("preflight"))


def test_nothing_moves_before_a_pre_flight(system: System) -> None:
    """Protects: a contract that requires a pre-flight is not armed by the lack of one."""
    system.refused("there was no pre-flight yet")
    assert system.states.last.chunks_accepted == 0


def test_the_healthy_demo_is_green_and_moves(system: System) -> None:
    """Protects: the node looks by itself, what it can't look at is yellow and told, and the arm may move."""
    system.graph.start("preflight_node", robot=system.robot, listen_s=1.5)
    # On a machine that stalls, cameras are too slow at first: the node looks again.
    try:
        system.graph.wait_until(
            lambda: system.reports.last and system.reports.last.status != PreflightReport.RED,
            "a report without red",
            120,
        )
    except pytest.fail.Exception as error:
        pytest.fail(f"{error}: {system.reports.last}")
    report = system.reports.last
    rows = list(zip(report.rows, report.statuses, report.findings, strict=True))
    assert all(finding for _, status, finding in rows if status == PreflightReport.YELLOW)
    assert report.contract_sha256 == digest_of(system.contract)
    assert report.checkpoint_sha256 == open_checkpoint(system.checkpoint).sha256
    assert {"units", "first chunk", "latency", "state statistics", "limits of the URDF", "disk"} <= set(report.rows)
    system.graph.wait_until(lambda: system.states.last.chunks_accepted > 3, "the arm moves", 40)


def test_a_red_report_refuses_the_next_start(system: System) -> None:
    """Protects: files that changed under a running policy arm nothing, and each way of asking says so."""
    system.graph.call(Trigger, "trajectory_executor/stop", Trigger.Request())
    system.graph.wait_until(lambda: system.states.last.mode not in MOVING, "the arm rests", 20)
    stats = system.checkpoint / STATS
    data = json.loads(stats.read_text(encoding="utf-8"))
    data["state"]["gripper"]["std"] *= 1.01
    stats.write_text(json.dumps(data), encoding="utf-8")
    answer = system.graph.call(Trigger, "preflight/check", Trigger.Request())
    assert not answer.success
    system.graph.wait_until(lambda: system.reports.last.status == PreflightReport.RED, "a red report", 10)
    report = system.reports.last
    assert "were changed since" in report.findings[report.rows.index("checkpoint")]
    system.graph.call(Trigger, "trajectory_executor/start", Trigger.Request())
    system.refused("the pre-flight is red: ")


@pytest.mark.usefixtures("system")
def test_the_command_has_the_node_make_one(tmp_path: Path) -> None:
    """Protects: who types `swiftvla preflight` gets the report that arms, and its exit code."""
    figures = tmp_path / "rows.json"
    command = [sys.executable, "-m", "swiftvla_ros.cli.main", "preflight", "--json", str(figures)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(figures.read_text(encoding="utf-8"))
    red = {row["name"]: row for row in found["checks"] if row["status"] == "fail"}
    assert red["checkpoint"]["section"] == "pre-flight"
    assert "were changed since" in red["checkpoint"]["finding"]
