# SPDX-License-Identifier: Apache-2.0
"""The real executor node with a stopwatch around its control tick; a process of ``executor_rate.py``.

``python benchmarks/executor_rate_node.py FILE CAPACITY --ros-args -p robot:=…`` writes, when it is told to end, when
each tick was due, began and ended, and the mode it ended in. The stopwatch allocates nothing per tick that stays.
"""

import sys
import time
from pathlib import Path

import numpy as np

from swiftvla_ros.nodes.ros.lifecycle import run
from swiftvla_ros.nodes.trajectory_executor_node import ExecutorParts, TrajectoryExecutorNode


class TimedExecutorNode(TrajectoryExecutorNode):
    """Notes when each control tick was due, began and had published (system clock, ns), and the mode."""

    def __init__(self, capacity: int) -> None:
        # Written once now: pages that are touched only later would look like a growing process.
        self.noted = np.full((capacity, 4), -1, dtype=np.int64)
        self.ticks = 0
        super().__init__()

    def _tick(self, parts: ExecutorParts) -> None:
        begin_ns = time.time_ns()
        super()._tick(parts)
        if parts.loop is not None and self.ticks < len(self.noted):
            self.noted[self.ticks] = parts.loop.due_ns, begin_ns, time.time_ns(), int(parts.core.mode)
            self.ticks += 1


def main() -> int:
    """Run the node until SIGINT or SIGTERM, then write what was noted."""
    path, capacity = Path(sys.argv[1]), int(sys.argv[2])
    made: list[TimedExecutorNode] = []

    def make() -> TimedExecutorNode:
        made.append(TimedExecutorNode(capacity))
        return made[0]

    status = run(make, sys.argv[3:])
    if made:
        np.save(path, made[0].noted[: made[0].ticks])
    return status


if __name__ == "__main__":
    sys.exit(main())
