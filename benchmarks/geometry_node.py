# SPDX-License-Identifier: Apache-2.0
"""What geometry_node costs the policy beside it: the policy's latency with and without, as a ratio, in one run.

``python benchmarks/geometry_node.py [--seconds 10] [--rounds 3] [--cores 2] [--targets] [--eager] [--json FILE]``.
This process is the drivers of two 640×480 cameras; cameras, joint states, policy and geometry are processes of their
own, all on the same cores. The geometry node is activated and deactivated by turns, so that other load on the machine
meets both alike. Latency is from the oldest image's stamp to the end of the inference, as the chunk tells it.
``--eager`` takes away what the node does for the policy's sake: the difference is what backing off is worth.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from _live_policy import LivePolicy
from swiftvla_ros.bringup.processes import describe_geometry
from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.output import write_json
from swiftvla_ros.contract import load_contract
from swiftvla_ros.msg import ActionChunk, GeometryFeatures
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.observation.message_fields import read_chunk
from swiftvla_ros.resources import DEFAULT_CHECKPOINT

# After each change the first chunks are not counted.
_SETTLE_S = 1.5


class Bench(LivePolicy):
    """Counts chunks and the geometry node's steps."""

    def __init__(self) -> None:
        self.clear()
        super().__init__()
        self.node.create_subscription(GeometryFeatures, "geometry_features", self._take_features, qos.STATE)

    def change(self, transition: int) -> None:
        """Configure, activate or deactivate the geometry node."""
        request = ChangeState.Request(transition=Transition(id=transition))
        if not self.call(ChangeState, "geometry/change_state", request).success:
            sys.exit(f"geometry refused transition {transition}")

    def clear(self) -> None:
        """Forget what was counted."""
        self.latency_ms: list[float] = []
        self.inference_ms: list[float] = []
        self.steps = 0

    def take_chunk(self, chunk: ActionChunk) -> None:
        """Note a chunk's latency."""
        read = read_chunk(chunk)
        self.latency_ms.append((read.end_ns - read.stamp_ns) / 1e6)
        self.inference_ms.append(1e3 * read.inference_s)

    def _take_features(self, _: GeometryFeatures) -> None:
        self.steps += 1


def measure(options: argparse.Namespace) -> dict[bool, dict[str, Any]]:
    """Latencies in ms and steps looked at, without (False) and with (True) the geometry node."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    with tempfile.TemporaryDirectory() as folder:
        targets = Path(folder) / "targets" if options.targets else None
        geometry = describe_geometry(SystemOptions(targets=targets))
        extra = ["-p", "autostart:=false", "-p", f"back_off:={'false' if options.eager else 'true'}"]
        with Bench.started(options.checkpoint, ([*geometry.command(), *extra], geometry.environment)) as bench:
            return _alternate(bench, options)


def _alternate(bench: Bench, options: argparse.Namespace) -> dict[bool, dict[str, Any]]:
    bench.change(Transition.TRANSITION_CONFIGURE)
    bench.instruct(settle_s=3.0)
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
    write_json(options.json, figures)


if __name__ == "__main__":
    main()
