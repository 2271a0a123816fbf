# SPDX-License-Identifier: Apache-2.0
"""What ROS adds between a camera's stamp and the action chunk: two 640×480 cameras and the real nodes, without a robot.

``python benchmarks/ros_latency.py [CHECKPOINT] [--seconds 20] [--apart-ms 0] [--without-overlap] [--json FILE]``. This
process is the drivers, stamping each image just before it is published, and receives the chunks; cameras, joint states
and policy are processes of their own, as ``swiftvla up`` starts them. The second camera is later than the first by
``--apart-ms``, as cameras that nothing synchronises are. ``--without-overlap`` measures beside it a policy that waits
for both images before it looks at one. Wall times: other load on the machine is in them.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from _live_policy import LivePolicy
from swiftvla_ros.cli.output import write_json
from swiftvla_ros.contract.latency_stages import POLICY, STAGES, durations_s
from swiftvla_ros.msg import ActionChunk
from swiftvla_ros.observation.message_fields import read_chunk
from swiftvla_ros.resources import DEFAULT_CHECKPOINT

_STAGES = (*POLICY, "chunk_transport")


class Stages(LivePolicy):
    """Durations in ms of each chunk's stages, in the order of time."""

    def __init__(self) -> None:
        self.ms: dict[str, list[float]] = {}
        super().__init__()

    def take_chunk(self, chunk: ActionChunk) -> None:
        """Note how long each stage of a chunk took."""
        read = read_chunk(chunk, self.node.get_clock().now().nanoseconds)
        took_s = {str(STAGES[name]): s for name, s in durations_s(_STAGES, read.stamps_ns()).items()}
        total_s = (read.received_ns - read.stamp_ns) / 1e9
        took_s |= {"total": total_s, "total without inference": total_s - read.inference_s}
        for name, seconds in took_s.items():
            self.ms.setdefault(name, []).append(1e3 * seconds)


_WAITS_FOR_BOTH = """
import sys
from swiftvla_ros.nodes import policy_node
from swiftvla_ros.policy.checkpoint_policy import CheckpointPolicy
CheckpointPolicy.see = lambda self, camera, image: None
policy_node.main()
"""


def measure(checkpoint: str, seconds: float, *, overlap: bool) -> dict[str, list[float]]:
    """Durations in ms of each chunk's stages."""
    with Stages.started(checkpoint, policy=() if overlap else ("-c", _WAITS_FOR_BOTH)) as stages:
        stages.instruct(settle_s=2.0)
        stages.ms.clear()
        stages.spin(seconds)
        return stages.ms


def main() -> None:
    """Measure, print a table, and write the same figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?", default=DEFAULT_CHECKPOINT)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--apart-ms", type=float, default=0.0, help="how much later the second camera is")
    parser.add_argument("--without-overlap", action="store_true", help="beside it: both images before one is looked at")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    Stages.apart_s = options.apart_ms / 1e3
    written = {}
    for overlap in (True, False) if options.without_overlap else (True,):
        stages = measure(options.checkpoint, options.seconds, overlap=overlap)
        figures = {
            name: dict(zip(("p50", "p95", "max"), (float(np.percentile(ms, q)) for q in (50, 95, 100)), strict=True))
            for name, ms in stages.items()
        }
        title = f"{len(stages.get('total', []))} chunks{'' if overlap else ', waiting for both images'}"
        table = Table("stage", "p50 ms", "p95 ms", "max ms", title=title)
        for name, row in figures.items():
            table.add_row(name, *(f"{value:.1f}" for value in row.values()))
        Console().print(table)
        written["stages_ms" if overlap else "stages_ms_without_overlap"] = figures
    write_json(options.json, {"load_average": os.getloadavg()[0], **written})


if __name__ == "__main__":
    main()
