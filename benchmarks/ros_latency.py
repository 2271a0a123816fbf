# SPDX-License-Identifier: Apache-2.0
"""What ROS adds between a camera's stamp and the action chunk: two 640×480 cameras and the real nodes, without a robot.

``python benchmarks/ros_latency.py [CHECKPOINT] [--seconds 20] [--json FILE]``. This process is the drivers, stamping
each image just before it is published, and receives the chunks; cameras, joint states and policy are processes of their
own, as ``swiftvla up`` starts them. Wall times: other load on the machine is in them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image, JointState

from swiftvla_ros.bringup.processes import describe, transport_environment
from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.contract import load_contract
from swiftvla_ros.msg import ActionChunk
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import rgb_message
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.resources import DEFAULT_CHECKPOINT
from swiftvla_ros.srv import SetInstruction

_START_S = 120.0


def measure(checkpoint: str, seconds: float) -> dict[str, list[float]]:
    """Durations in ms of each chunk's stages, in the order of time."""
    contract = load_contract("so101_sim")
    os.environ.update(transport_environment())
    rclpy.init()
    node = rclpy.create_node("latency_benchmark")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    pictures = np.random.default_rng(0).integers(0, 255, (8, 480, 640, 3), dtype=np.uint8)
    cameras = {c.name: node.create_publisher(Image, c.topic, qos.IMAGE) for c in contract.cameras}
    joints = node.create_publisher(JointState, contract.joint_states.topic, qos.STATE)
    position = contract.from_si(contract.rest).tolist()
    stages: dict[str, list[float]] = {}
    ticks = 0

    def send_images() -> None:
        nonlocal ticks
        ticks += 1
        for name, publisher in cameras.items():
            now_ns = node.get_clock().now().nanoseconds
            publisher.publish(rgb_message(pictures[ticks % len(pictures)], now_ns, f"{name}_optical_frame"))

    def send_joints() -> None:
        message = JointState(name=list(contract.joint_names), position=position)
        message.header.stamp = node.get_clock().now().to_msg()
        joints.publish(message)

    def receive(chunk: ActionChunk) -> None:
        times = [chunk.header.stamp, chunk.observation_ready, chunk.inference_start, chunk.inference_end]
        ns = [*map(stamp_ns, times), node.get_clock().now().nanoseconds]
        names = ("camera stamp to observation", "observation to inference", "inference", "inference to chunk received")
        for k, name in enumerate(names):
            stages.setdefault(name, []).append((ns[k + 1] - ns[k]) / 1e6)
        stages.setdefault("total", []).append((ns[4] - ns[0]) / 1e6)
        stages.setdefault("total without inference", []).append((ns[4] - ns[0] - (ns[3] - ns[2])) / 1e6)

    node.create_timer(1 / contract.cameras[0].rate_hz, send_images)
    node.create_timer(1 / contract.joint_states.rate_hz, send_joints)
    node.create_subscription(ActionChunk, "action_chunk", receive, qos.CHUNK)
    client = node.create_client(SetInstruction, "set_instruction")
    wanted = [p for p in describe(SystemOptions(checkpoint=checkpoint)) if p.name != "trajectory_executor"]
    running = [subprocess.Popen(p.command(), env={**os.environ, **p.environment}) for p in wanted]
    try:
        deadline = time.monotonic() + _START_S
        while not client.service_is_ready():
            executor.spin_once(timeout_sec=0.1)
            if time.monotonic() > deadline or any(p.poll() is not None for p in running):
                sys.exit("the policy did not start")
        client.call_async(SetInstruction.Request(instruction="pick up the red block"))
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            executor.spin_once(timeout_sec=0.1)
        stages.clear()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            executor.spin_once(timeout_sec=0.1)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
        executor.shutdown()
        rclpy.try_shutdown()
    return stages


def main() -> None:
    """Measure, print a table, and write the same figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?", default=DEFAULT_CHECKPOINT)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    stages = measure(options.checkpoint, options.seconds)
    figures = {
        name: dict(zip(("p50", "p95", "max"), (float(np.percentile(ms, q)) for q in (50, 95, 100)), strict=True))
        for name, ms in stages.items()
    }
    table = Table("stage", "p50 ms", "p95 ms", "max ms", title=f"{len(stages.get('total', []))} chunks")
    for name, row in figures.items():
        table.add_row(name, *(f"{value:.1f}" for value in row.values()))
    Console().print(table)
    if options.json is not None:
        options.json.write_text(json.dumps({"load_average": os.getloadavg()[0], "stages_ms": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
