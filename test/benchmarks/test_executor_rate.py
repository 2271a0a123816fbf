# SPDX-License-Identifier: Apache-2.0
"""Figures about lateness are only as good as the arithmetic behind them, and as the node that they come from."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from executor_rate import missed

REPOSITORY = Path(__file__).parents[2]
MS = 1_000_000


def test_missed_ticks_are_counted():
    """A stall of 12 ms at 200 Hz is one late tick, and two that never came."""
    due_ns = np.array([0, 5, 10, 15, 30, 35]) * MS + np.array([0, 1, -1, 0, 1, 0])
    assert missed(due_ns, 5.0 * MS) == 2


@pytest.mark.ros
def test_the_real_node_is_measured(ros_environment, tmp_path):
    """A short run without other load: the real node follows chunks all the time, at a rate near the wanted one."""
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")
    path = tmp_path / "rate.json"
    command = [sys.executable, str(REPOSITORY / "benchmarks/executor_rate.py")]
    done = subprocess.run(
        [*command, "--joints", "14", "--rate", "100", "--seconds", "2", "--busy", "0", "--json", str(path)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env=ros_environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (figures,) = json.loads(path.read_text())["runs"]
    assert figures["joints"] == 14
    assert figures["ticks"] + figures["ticks_missed"] >= 190
    assert figures["moving_share"] > 0.9, done.stdout + done.stderr
    assert 0 < figures["ms"]["begins"]["p50"] <= figures["ms"]["commanded"]["p50"]
    assert 0 < figures["core_percent"] < 100
    assert "main" in figures["core_percent_by_thread"]
