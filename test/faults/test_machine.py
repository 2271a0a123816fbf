# SPDX-License-Identifier: Apache-2.0
"""Connections and machines that fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")

from fault_bounds import CONTRACT, HOLD, STATE_END_S, beside

from swiftvla_ros.contract.exit_codes import EXIT_STOOD_STILL
from swiftvla_ros.msg import ExecutorState
from swiftvla_ros.observation.message_fields import stamp_ns

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]


def test_discovery_lost(system: Any, fault: Any) -> None:
    """What stood still for longer than its lease ends itself, to be started anew: the arm goes on at once then."""
    feeding = [name for name in system.nodes if name != "trajectory_executor"]
    row = fault("DDS discovery lost", "SIGSTOP to all other nodes for longer than their lease of 4 s, then SIGCONT")
    system.send(signal.SIGSTOP, *feeding)
    row.ends_in(HOLD, STATE_END_S, ExecutorState.REASON_STATE_STALE)
    node = system.graph.node
    system.wait(
        lambda: node.count_publishers("action_chunk") == node.count_publishers("observation/state") == 0,
        "the graph has lost them",
    )
    system.killed |= set(feeding)
    system.send(signal.SIGCONT, *feeding)
    for name in feeding:
        assert system.nodes[name].wait() == EXIT_STOOD_STILL, system.nodes[name].output()
        assert "this process stood still for" in system.nodes[name].output()
    system.start_sensors()
    system.start_policy()
    system.wait(lambda: system.policy_states.messages, "a new policy is active", 120)
    assert system.instruct("pick up the red block").success
    row.codes += "; each ends with exit code 3"
    row.recovers("new processes and an instruction", within_s=6.0)


def test_bag_replayed_into_the_live_graph(system: Any, fault: Any) -> None:
    """Chunks, states and images of another time on the live topics: all old, none is followed, the arm goes on."""
    system.ready()
    bag = system.record(chunks=15)
    system.ignore_before_ns = stamp_ns(system.states.last.header.stamp)
    try:
        with beside("replay_bag.py", bag, CONTRACT.control.topic):
            refused = system.live().chunks_refused
            system.wait(lambda: system.live().chunks_refused > refused, "the bag's first chunk arrives", 60)
            row = fault("bag replayed into the live graph", "all recorded topics but the driver's commands")
            before = system.live()
            row.goes_on(
                lambda: (
                    system.live().chunk_id > before.chunk_id + 20
                    and system.live().chunks_refused > before.chunks_refused
                ),
                "chunks are followed, and the bag's are refused",
                late_chunks=True,
            )
            row.refuses(ExecutorState.REFUSAL_STALE)
        row.recovers()
    finally:
        system.ignore_before_ns = 0


def test_no_home(system: Any, fault: Any) -> None:
    """A node without HOME and ROS_LOG_DIR runs, and says once where its log files go (E)."""
    row = fault("no HOME", "joint_state_node is ended, and started without HOME and ROS_LOG_DIR")
    system.killed.add("joint_state")
    assert system.nodes["joint_state"].end() == 0
    row.ends_in(HOLD, STATE_END_S, ExecutorState.REASON_STATE_STALE)
    system.start_joint_state(HOME="", ROS_LOG_DIR="")
    system.wait(lambda: system.graph.node.count_publishers("observation/state"), "the node is there", 60)
    row.recovers("it is there: log files go to a temporary folder")
    assert system.nodes["joint_state"].output().count("log files go to") == 1


def test_small_shared_memory(system: Any, passed: Any, repository: Path, wait_until: Any) -> None:
    """Docker's /dev/shm of 64 MB: images go over UDP, each process that found no room says what to do (F10)."""
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], check=False).returncode:
        pytest.skip("no user namespaces, or no mounts in them: /dev/shm can't be made small here")
    log = system.folder / "small_shared_memory.log"
    bag = repository / "test" / "replay" / "bags" / "pick_red"
    up = f"{sys.executable} -m swiftvla_ros.cli.main up --loopback --policy-from {bag}"
    environment = {name: value for name, value in os.environ.items() if name != "FASTDDS_DEFAULT_PROFILES_FILE"}
    environment["ROS_DOMAIN_ID"] = str(int(os.environ["ROS_DOMAIN_ID"]) + 1)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["unshare", "-rm", "sh", "-c", f"mount -t tmpfs -o size=64m tmpfs /dev/shm && exec {up}"],
            stdout=stream, stderr=stream, env=environment, start_new_session=True,
        )  # fmt: skip
    told = "/dev/shm has 64 MiB"
    try:
        wait_until(lambda: told in log.read_text(errors="replace"), "it is named", 60)
        assert "docker run --shm-size" in log.read_text(errors="replace")
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
    injected = "a whole system (--loopback) in a namespace of its own"
    passed("64 MB /dev/shm", injected, "images go over UDP", f"log: {told} …")
