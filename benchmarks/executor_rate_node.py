# SPDX-License-Identifier: Apache-2.0
"""The real executor node with a stopwatch around its control tick; a process of ``executor_rate.py``.

``python benchmarks/executor_rate_node.py FILE CAPACITY --ros-args -p robot:=…`` writes, when it is told to end, when
each tick was due, began and ended, and the mode it ended in. The stopwatch allocates nothing per tick that stays.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from swiftvla_ros.nodes.lifecycle import run
from swiftvla_ros.nodes.trajectory_executor_node import TrajectoryExecutorNode


class TimedExecutorNode(TrajectoryExecutorNode):
    """Notes when the control timer's callback began and ended (system clock, ns), and the mode."""

    def __init__(self, capacity: int) -> None:
        self.noted = np.zeros((capacity, 3), dtype=np.int64)
        self.ticks = 0
        self.first_due_ns = 0
        super().__init__()

    def timer(self, period_s: float, callback: Callable[[], None]) -> Any:
        """Create a timer; that of the control rate is timed."""
        if abs(period_s * self.contract.control.rate_hz - 1.0) > 1e-9:
            return super().timer(period_s, callback)

        def timed() -> None:
            begin_ns = time.time_ns()
            if not self.first_due_ns:
                self.first_due_ns = begin_ns + timer.time_until_next_call()
            callback()
            if self.ticks < len(self.noted):
                mode = -1 if self._core is None else int(self._core.mode)
                self.noted[self.ticks] = begin_ns, time.time_ns(), mode
            self.ticks += 1

        timer = super().timer(period_s, timed)
        return timer


def main() -> int:
    """Run the node until SIGINT or SIGTERM, then write what was noted."""
    path, capacity = Path(sys.argv[1]), int(sys.argv[2])
    made: list[TimedExecutorNode] = []

    def make() -> TimedExecutorNode:
        made.append(TimedExecutorNode(capacity))
        return made[0]

    status = run(make, sys.argv[3:])
    if made:
        begin_end_mode = made[0].noted[: made[0].ticks]
        np.savez(path, first_due_ns=made[0].first_due_ns, ticks=begin_end_mode)
    return status


if __name__ == "__main__":
    sys.exit(main())
