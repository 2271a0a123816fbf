# SPDX-License-Identifier: Apache-2.0
"""What geometry_node costs the policy beside it: the policy's latency with and without, as a ratio, in one run.

``python benchmarks/geometry_node.py [--seconds 10] [--rounds 3] [--cores 2] [--targets] [--eager] [--json FILE]``.
This process is the drivers of two 640×480 cameras; cameras, joint states, policy and geometry are processes of their
own, all on the same cores. The geometry node is activated and deactivated by turns, so that other load on the machine
meets both alike. Latency is from the oldest image's stamp to the end of the inference, as the chunk tells it.
``--eager`` takes away what the node does for the policy's sake: the difference is what backing off is worth.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sensor_msgs.msg import Image, JointState

from swiftvla_ros.bringup.processes import describe, describe_geometry, transport_environment
from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.contract import load_contract
from swiftvla_ros.msg import ActionChunk, GeometryFeatures
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import rgb_message
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.resources import DEFAULT_CHECKPOINT
from swiftvla_ros.srv import SetInstruction

_START_S = 120.0
# After each change the first chunks are not counted.
_SETTLE_S = 1.5


class Bench:
    """Drivers, counters and the calls to the nodes, in one thread."""

    def __init__(self) -> None:
        self.contract = load_contract("so101_sim")
        self.node = rclpy.create_node("geometry_benchmark")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.latency_ms: list[float] = []
        self.inference_ms: list[float] = []
        self.steps = 0
        self._pictures = np.random.default_rng(0).integers(0, 255, (8, 480, 640, 3), dtype=np.uint8)
        self._ticks = 0
        self._cameras = {c.name: self.node.create_publisher(Image, c.topic, qos.IMAGE) for c in self.contract.cameras}
        self._joints = self.node.create_publisher(JointState, self.contract.joint_states.topic, qos.STATE)
        self.node.create_timer(1 / self.contract.cameras[0].rate_hz, self._send_images)
        self.node.create_timer(1 / self.contract.joint_states.rate_hz, self._send_joints)
        self.node.create_subscription(ActionChunk, "action_chunk", self._take_chunk, qos.CHUNK)
        self.node.create_subscription(GeometryFeatures, "geometry_features", self._take_features, qos.STATE)

    def spin(self, seconds: float) -> None:
        """Be the drivers for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.executor.spin_once(timeout_sec=0.05)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Call a service, wherever its node is with starting."""
        client = self.node.create_client(kind, name)
        deadline = time.monotonic() + _START_S
        while not client.service_is_ready():
            self.spin(0.1)
            if time.monotonic() > deadline:
                sys.exit(f"service {name} is not there")
        future = client.call_async(request)
        while not future.done():
            self.spin(0.05)
            if time.monotonic() > deadline:
                sys.exit(f"service {name} does not answer")
        self.node.destroy_client(client)
        return future.result()

    def change(self, transition: int) -> None:
        """Configure, activate or deactivate the geometry node."""
        request = ChangeState.Request(transition=Transition(id=transition))
        if not self.call(ChangeState, "geometry/change_state", request).success:
            sys.exit(f"geometry refused transition {transition}")

    def clear(self) -> None:
        """Forget what was counted."""
        self.latency_ms, self.inference_ms, self.steps = [], [], 0

    def _send_images(self) -> None:
        self._ticks += 1
        for name, publisher in self._cameras.items():
            now_ns = self.node.get_clock().now().nanoseconds
            publisher.publish(
                rgb_message(self._pictures[self._ticks % len(self._pictures)], now_ns, f"{name}_optical_frame")
            )

    def _send_joints(self) -> None:
        driver = self.contract.from_si(self.contract.rest).tolist()
        message = JointState(name=list(self.contract.joint_names), position=driver)
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._joints.publish(message)

    def _take_chunk(self, chunk: ActionChunk) -> None:
        end_ns = stamp_ns(chunk.inference_end)
        self.latency_ms.append((end_ns - stamp_ns(chunk.header.stamp)) / 1e6)
        self.inference_ms.append((end_ns - stamp_ns(chunk.inference_start)) / 1e6)

    def _take_features(self, _: GeometryFeatures) -> None:
        self.steps += 1


def measure(options: argparse.Namespace) -> dict[bool, dict[str, Any]]:
    """Latencies in ms and steps looked at, without (False) and with (True) the geometry node."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    os.environ.update(transport_environment())
    rclpy.init()
    bench = Bench()
    wanted = [p for p in describe(SystemOptions(checkpoint=options.checkpoint)) if p.name != "trajectory_executor"]
    with tempfile.TemporaryDirectory() as folder:
        targets = Path(folder) / "targets" if options.targets else None
        geometry = describe_geometry(SystemOptions(targets=targets))
        commands = [(p.command(), p.environment) for p in wanted]
        extra = ["-p", "autostart:=false", "-p", f"back_off:={'false' if options.eager else 'true'}"]
        commands.append(([*geometry.command(), *extra], geometry.environment))
        running = [subprocess.Popen(command, env={**os.environ, **own}) for command, own in commands]
        try:
            return _alternate(bench, options)
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()
            bench.executor.shutdown()
            rclpy.try_shutdown()


def _alternate(bench: Bench, options: argparse.Namespace) -> dict[bool, dict[str, Any]]:
    bench.change(Transition.TRANSITION_CONFIGURE)
    bench.call(SetInstruction, "set_instruction", SetInstruction.Request(instruction="pick up the red block"))
    bench.spin(3.0)
    found: dict[bool, dict[str, Any]] = {w: {"latency": [], "inference": [], "steps": 0} for w in (False, True)}
    with Progress(transient=True) as progress:
        for turn in progress.track(range(2 * options.rounds), description="by turns"):
            active = turn % 2 == 1
            if active:
                bench.change(Transition.TRANSITION_ACTIVATE)
            elif turn:
                bench.change(Transition.TRANSITION_DEACTIVATE)
            bench.spin(_SETTLE_S)
            bench.clear()
            bench.spin(options.seconds)
            found[active]["latency"] += bench.latency_ms
            found[active]["inference"] += bench.inference_ms
            found[active]["steps"] += bench.steps
    return found


def main() -> None:
    """Measure, print a table, and write the same figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?", default=DEFAULT_CHECKPOINT)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--targets", action="store_true", help="write targets for K = 3, 4, 5, 6, too")
    parser.add_argument("--eager", action="store_true", help="never wait for the policy")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options)
    steps_per_s = found[True]["steps"] / (options.seconds * options.rounds)
    table = Table("policy", "chunks", "p50 ms", "p95 ms", "inference p50 ms", "inference p95 ms")
    figures: dict[str, Any] = {"load_average": os.getloadavg()[0], "geometry_steps_per_s": steps_per_s}
    for active, name in ((False, "without"), (True, "with")):
        row = {
            f"{what} p{q}": float(np.percentile(found[active][what], q))
            for what in ("latency", "inference")
            for q in (50, 95)
        }
        figures[name] = {"chunks": len(found[active]["latency"]), **row}
        table.add_row(f"{name} geometry", str(len(found[active]["latency"])), *(f"{v:.1f}" for v in row.values()))
    ratios = {key: figures["with"][key] / figures["without"][key] for key in figures["without"] if key != "chunks"}
    table.add_row("ratio", "", *(f"{ratio:.3f}" for ratio in ratios.values()))
    figures["ratio"] = ratios
    Console().print(table)
    wanted = 1 / load_contract("so101_sim").policy.step_s
    print(f"{steps_per_s:.1f} steps a second were looked at; {wanted:.0f} come, what can't be looked at yet waits")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
