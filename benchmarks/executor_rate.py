# SPDX-License-Identifier: Apache-2.0
"""The executor node at high rates: how late its ticks are, what it costs, and whether it grows.

``python benchmarks/executor_rate.py [--joints 6 14] [--rate 200 500 1000] [--fifo 0 10] [--busy 2] [--json FILE]``
measures each combination. The node is a process of its own, as ``swiftvla up`` starts it; this process is driver and
policy: joint states, a chunk each 0.1 s that is 0.1 s late, and subscriptions to what the node publishes. ``--busy``
processes only compute.

A tick's lateness is from when it was due: ``begins`` is the wake-up, ``commanded`` is when the command and the
state were published. A tick is missed when the one before it took beyond the time for it. Processor time and the time
that a thread waited for a processor are the kernel's (Linux).
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
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from executor_tick import smooth
from swiftvla_ros.cli.output import write_json
from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.contract.contract import CommandPart
from swiftvla_ros.motion import Mode

NS = 1_000_000_000
_START_S = 60.0
_SETTLE_S = 2.0
_STEP_S = 0.1
_LATE_S = 0.1
_ROWS = 10
_ARM_JOINTS = 7


def missed(due_ns: NDArray[np.int64], period_ns: float) -> int:
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


def _commands(part: CommandPart) -> tuple[Any, str]:
    from std_msgs.msg import Float64MultiArray
    from trajectory_msgs.msg import JointTrajectory

    return (JointTrajectory if part.kind == "joint_trajectory" else Float64MultiArray), part.topic


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
        for part in contract.command_parts:
            self._node.create_subscription(*_commands(part), lambda _: None, qos.COMMAND)
        self._rng = np.random.default_rng(0)
        self._begin_ns = time.time_ns()
        self._sent = 0

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


def write_contract(options: argparse.Namespace, joints: int, rate_hz: float, folder: Path) -> Path:
    """Write the robot's contract with other rates, as many joints and an output where asked; give its path.

    Joints beyond the robot's are copies of its own, and are commanded as arms of up to 7, each with a topic.
    """
    content = yaml.safe_load(load_contract(options.robot).path.read_text())
    own, control = content["joints"], content["control"]
    control["rate_hz"] = rate_hz
    if options.states is not None:
        content["joint_states"]["rate_hz"] = options.states
    if options.output is not None:
        control["output"] = options.output
    content["kinematics"] = None
    if joints != len(own):
        copies = [{**own[i % len(own)], "name": f"joint_{i + 1}"} for i in range(joints)]
        names, kind, topic = [joint["name"] for joint in copies], control["output"], control.pop("topic")
        arms = [names[i : i + _ARM_JOINTS] for i in range(0, joints, _ARM_JOINTS)]
        control["output"] = [{"kind": kind, "topic": f"{topic}_{i}", "joints": arm} for i, arm in enumerate(arms)]
        content.update(joints=copies, gripper=[], lerobot={})
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


def measure(options: argparse.Namespace, joints: int, rate_hz: float, fifo: int, folder: Path) -> dict[str, Any]:
    """Run the node for a while and give the figures."""
    path = write_contract(options, joints, rate_hz, folder)
    contract = load_contract(path)
    noted, capacity = folder / "ticks.npy", round((options.seconds + _START_S + 60.0) * rate_hz)
    script = str(Path(__file__).with_name("executor_rate_node.py"))
    parameters = [f"robot:={json.dumps(str(path))}", f"realtime_priority:={fifo}", *options.parameter]
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
    case = {"joints": joints, "rate_hz": rate_hz, "fifo": fifo, "busy": options.busy, "processors": os.cpu_count()}
    return {**case, **_of_ticks(np.load(noted), begin_ns, end_ns, rate_hz), **_of_usage(usages)}


def _of_ticks(ticks: NDArray[np.int64], begin_ns: int, end_ns: int, rate_hz: float) -> dict[str, Any]:
    due, began, ended, modes = ticks[(ticks[:, 1] >= begin_ns) & (ticks[:, 1] < end_ns)].T
    figures = {
        name: dict(zip(("p50", "p99", "max"), np.percentile(ns / 1e6, (50, 99, 100)).tolist(), strict=True))
        for name, ns in (("begins", began - due), ("commanded", ended - due), ("tick", ended - began))
    }
    return {
        "ticks": len(due),
        "ticks_missed": missed(due, NS / rate_hz),
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


def print_table(results: list[dict[str, Any]]) -> None:
    """Print the figures for people."""
    told = results[0]
    table = Table(title=f"the executor node beside {told['busy']} busy processes, {told['processors']} processors")
    for name in ("joints", "Hz", "FIFO", "begins", "command out", "tick", "missed, %", "core, %", "moving, %"):
        table.add_column(name, justify="right")
    for name in ("MB", "grew, kB"):
        table.add_column(name, justify="right")
    for case in results:
        spans = ("{p50:.2f} / {p99:.2f} / {max:.1f}".format(**row) for row in case["ms"].values())
        table.add_row(
            *(str(case["joints"]), f"{case['rate_hz']:g}", str(case["fifo"]), *spans, f"{missed_percent(case):.1f}"),
            *(f"{case['core_percent']:.0f}", f"{100 * case['moving_share']:.0f}"),
            *(f"{case['memory_mb']:.0f}", f"{case['memory_growth_kb']:.0f}"),
        )
    console = Console(width=140)
    console.print(table)
    console.print("ms after a tick was due, and for a whole one: p50 / p99 / max; grew: in the second half of the time")


def missed_percent(case: dict[str, Any]) -> float:
    """Share of the ticks that were due and never came."""
    return 100 * case["ticks_missed"] / max(case["ticks"] + case["ticks_missed"], 1)


def main() -> None:
    """Measure, print, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--robot", default="so101_sim")
    parser.add_argument("--joints", type=int, nargs="+", help="as many copies of the robot's joints; default: its own")
    parser.add_argument("--rate", type=float, nargs="+", default=[200.0], help="control ticks per second")
    parser.add_argument("--states", type=float, help="joint states per second, if not the contract's")
    parser.add_argument("--output", help="the contract's control.output, if another")
    parser.add_argument("--busy", type=int, default=2, help="processes that compute all the time")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each combination")
    parser.add_argument("--fifo", type=int, nargs="+", default=[0], help="the node's parameter realtime_priority")
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME:=VALUE", help="of the node")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    joints = options.joints or [len(load_contract(options.robot).joints)]
    results = []
    for case in product(joints, options.rate, options.fifo):
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(options, *case, Path(folder)))
    print_table(results)
    write_json(options.json, {"load_average": os.getloadavg()[0], "runs": results})


if __name__ == "__main__":
    main()
