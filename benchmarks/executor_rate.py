# SPDX-License-Identifier: Apache-2.0
"""The executor node at a high rate on a busy machine: how late its ticks are, what it costs, and whether it grows.

``python benchmarks/executor_rate.py [--rate 200] [--busy 2] [--seconds 30] [--robot so101_sim] [--json FILE]``. The
node is a process of its own, as ``swiftvla up`` starts it; this process is driver and policy: joint states, a chunk
each 0.1 s that is 0.1 s late, and subscriptions to what the node publishes. ``--busy`` processes only compute.

A tick's lateness is from when it was due; ``begins`` is the wake-up, ``commanded`` is when the command and the
state were published. Processor time and the time that a thread waited for a processor are the kernel's (Linux).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from executor_tick import smooth
from swiftvla_ros.bringup.processes import transport_environment
from swiftvla_ros.cli.output import write_json
from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.motion import Mode

NS = 1_000_000_000
_START_S = 60.0
_SETTLE_S = 2.0
_STEP_S = 0.1
_LATE_S = 0.1
_ROWS = 10


def skipped(due_ns: NDArray[np.int64], period_ns: float) -> int:
    """How many ticks were due between those [N] that came."""
    return int((np.round(np.diff(due_ns) / period_ns) - 1).clip(0).sum())


class Usage:
    """What the kernel says of a process now: processor time and waiting per thread name, and memory."""

    def __init__(self, pid: int) -> None:
        self.time_s = time.monotonic()
        self.ran_s: dict[str, float] = {}
        self.waited_s = 0.0
        for task in sorted(Path(f"/proc/{pid}/task").iterdir()):
            name = (task / "comm").read_text().strip() if task.name != str(pid) else "main"
            ran, waited, _ = map(int, (task / "schedstat").read_text().split())
            self.ran_s[name] = self.ran_s.get(name, 0.0) + ran / NS
            self.waited_s += waited / NS if name == "main" else 0.0
        self.memory_kb = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


class Feed:
    """The driver and the policy of a robot that follows its plan: joint states and chunks, paced by the clock."""

    def __init__(self, contract: Contract) -> None:
        import rclpy
        from sensor_msgs.msg import JointState

        from swiftvla_ros.msg import ActionChunk, ExecutorState
        from swiftvla_ros.nodes.ros import qos

        rclpy.init()
        self._rclpy, self._contract = rclpy, contract
        self._node = rclpy.create_node("executor_rate")
        self._states = self._node.create_publisher(JointState, "observation/state", qos.STATE)
        self._chunks = self._node.create_publisher(ActionChunk, "action_chunk", qos.CHUNK)
        # Matched and never read: what a driver and a recorder cost the node, without what they cost this machine.
        self._node.create_subscription(ExecutorState, "executor_state", lambda _: None, qos.EXECUTOR_STATE)
        self._node.create_subscription(*self._command_topic(), lambda _: None, qos.COMMAND)
        self._rng = np.random.default_rng(0)
        self._begin_ns = time.time_ns()
        self._sent = 0

    def _command_topic(self) -> tuple[Any, str]:
        from std_msgs.msg import Float64MultiArray
        from trajectory_msgs.msg import JointTrajectory

        part = self._contract.command_parts[0]
        return (JointTrajectory if part.kind == "joint_trajectory" else Float64MultiArray), part.topic

    def run(self, seconds: float) -> None:
        """Publish for so long."""
        period_s = 1.0 / self._contract.joint_states.rate_hz
        due = time.monotonic()
        until = due + seconds
        while due < until:
            now_ns = time.time_ns()
            self._send_state(now_ns)
            if now_ns - self._begin_ns >= self._sent * _STEP_S * NS:
                self._send_chunk(now_ns - round(_LATE_S * NS))
                self._sent += 1
            due += period_s
            time.sleep(max(due - time.monotonic(), 0.0))

    def _plan(self, stamp_ns: int, rows: int) -> NDArray[np.float64]:
        t = (stamp_ns - self._begin_ns) / NS + np.arange(rows) * _STEP_S
        return smooth(np.maximum(t, 0.0), self._contract.rest, self._rng)

    def _send_state(self, now_ns: int) -> None:
        from sensor_msgs.msg import JointState

        from swiftvla_ros.nodes.ros.messages import header

        position = self._plan(now_ns, 1)[0].tolist()
        self._states.publish(
            JointState(header=header(now_ns), name=list(self._contract.joint_names), position=position)
        )

    def _send_chunk(self, stamp_ns: int) -> None:
        from swiftvla_ros.msg import ActionChunk
        from swiftvla_ros.nodes.ros.messages import header, to_duration

        self._chunks.publish(
            ActionChunk(
                header=header(stamp_ns),
                chunk_id=self._sent + 1,
                instruction_id=1,
                step=to_duration(round(_STEP_S * NS)),
                joint_names=list(self._contract.joint_names),
                rows=_ROWS,
                positions=self._plan(stamp_ns, _ROWS).reshape(-1).tolist(),
            )
        )

    def matched(self) -> bool:
        """Whether the node hears both topics."""
        return bool(self._states.get_subscription_count() and self._chunks.get_subscription_count())

    def close(self) -> None:
        """Leave the graph."""
        self._node.destroy_node()
        self._rclpy.try_shutdown()


def write_contract(robot: str, rate_hz: float, output: str | None, folder: Path) -> Path:
    """Write a robot's contract with another control rate, and output where asked; give its path."""
    contract = load_contract(robot)
    content = yaml.safe_load(contract.path.read_text())
    content["control"]["rate_hz"] = rate_hz
    if output is not None:
        content["control"]["output"] = output
    content["kinematics"] = None
    path = folder / "contract.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep so many processors busy meanwhile."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the node for a while and give the figures."""
    path = write_contract(options.robot, options.rate, options.output, folder)
    contract = load_contract(path)
    os.environ.update(transport_environment())
    noted, capacity = folder / "ticks.npy", round((options.seconds + _START_S + 60.0) * options.rate)
    script = str(Path(__file__).with_name("executor_rate_node.py"))
    parameters = [f"robot:={json.dumps(str(path))}", f"realtime_priority:={options.fifo}", *options.parameter]
    ros = ["--ros-args", *(part for p in parameters for part in ("-p", p))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    feed = Feed(contract)
    node = subprocess.Popen([sys.executable, script, str(noted), str(capacity), *ros], env=environment)
    try:
        deadline = time.monotonic() + _START_S
        while not feed.matched():
            if node.poll() is not None or time.monotonic() > deadline:
                sys.exit("the executor node did not start")
            time.sleep(0.05)
        with busy(options.busy):
            feed.run(_SETTLE_S)
            usages, begin_ns = [Usage(node.pid)], time.time_ns()
            for _ in range(10):
                feed.run(options.seconds / 10)
                usages.append(Usage(node.pid))
            end_ns = time.time_ns()
        node.send_signal(signal.SIGINT)
        node.wait(_START_S)
    finally:
        feed.close()
        if node.poll() is None:
            node.kill()
            node.wait()
    return {**_of_ticks(np.load(noted), begin_ns, end_ns, options.rate), **_of_usage(usages)}


def _of_ticks(ticks: NDArray[np.int64], begin_ns: int, end_ns: int, rate_hz: float) -> dict[str, Any]:
    due, began, ended, modes = ticks[(ticks[:, 1] >= begin_ns) & (ticks[:, 1] < end_ns)].T
    figures = {
        name: dict(zip(("p50", "p99", "max"), np.percentile(ns / 1e6, (50, 99, 100)).tolist(), strict=True))
        for name, ns in (("begins", began - due), ("commanded", ended - due), ("tick", ended - began))
    }
    return {
        "ticks": len(due),
        "ticks_skipped": skipped(due, NS / rate_hz),
        "ms": figures,
        "moving_share": float(np.isin(modes, [Mode.FRESH, Mode.TAIL]).mean()) if len(modes) else 0.0,
    }


def _of_usage(usages: list[Usage]) -> dict[str, Any]:
    first, last = usages[0], usages[-1]
    span_s = last.time_s - first.time_s
    threads = {name: 100 * (ran - first.ran_s.get(name, 0.0)) / span_s for name, ran in last.ran_s.items()}
    # The first half may still fill pools and caches; what grows for ever grows in the second half, too.
    middle = usages[len(usages) // 2]
    return {
        "core_percent": sum(threads.values()),
        "core_percent_by_thread": dict(sorted(threads.items(), key=lambda item: -item[1])),
        "waited_percent": 100 * (last.waited_s - first.waited_s) / span_s,
        "memory_mb": last.memory_kb / 1024,
        "memory_growth_kb": last.memory_kb - middle.memory_kb,
        "memory_growth_s": last.time_s - middle.time_s,
    }


def print_table(figures: dict[str, Any], title: str) -> None:
    """Print the figures for people."""
    table = Table("", "p50 ms", "p99 ms", "max ms", title=title)
    for name, row in figures["ms"].items():
        table.add_row(f"{name}{'' if name == 'tick' else ', after it was due'}", *(f"{v:.3f}" for v in row.values()))
    console = Console(width=110)
    console.print(table)
    threads = ", ".join(f"{name} {share:.1f}" for name, share in figures["core_percent_by_thread"].items())
    console.print(f"{figures['ticks']} ticks, {figures['ticks_skipped']} skipped, {figures['moving_share']:.0%} moving")
    console.print(f"{figures['core_percent']:.1f} % of a core ({threads})")
    console.print(f"the node's thread waited for a processor {figures['waited_percent']:.1f} % of the time")
    console.print(
        f"{figures['memory_mb']:.0f} MB, grew by {figures['memory_growth_kb']:.0f} kB in the last "
        f"{figures['memory_growth_s']:.0f} s"
    )


def main() -> None:
    """Measure, print, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--robot", default="so101_sim")
    parser.add_argument("--rate", type=float, default=200.0, help="control ticks per second")
    parser.add_argument("--output", help="the contract's control.output, if another")
    parser.add_argument("--busy", type=int, default=2, help="processes that compute all the time")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--fifo", type=int, default=0, help="the node's parameter realtime_priority")
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME:=VALUE", help="of the node")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options, Path(folder))
    joints = len(load_contract(options.robot).joints)
    print_table(figures, f"executor node, {joints} joints at {options.rate:g} Hz beside {options.busy} busy processes")
    told = {"rate_hz": options.rate, "joints": joints, "busy": options.busy, "processors": os.cpu_count()}
    write_json(options.json, {**told, "load_average": os.getloadavg()[0], **figures})


if __name__ == "__main__":
    main()
