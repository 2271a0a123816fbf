# SPDX-License-Identifier: Apache-2.0
"""The demo from end to end: real nodes, real ROS, the shipped checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from swiftvla_ros.cli.check_motion import check_bag
from swiftvla_ros.episodes.bag import Bag


@pytest.mark.ros
def test_the_arm_does_what_it_is_told_and_changes_its_mind(tmp_path: Path) -> None:
    """Protects: one command shows the whole way, ends with exit code 0 only when done, and leaves a complete record."""
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")
    out = tmp_path / "run"
    command = [sys.executable, "-m", "swiftvla_ros.cli.main", "demo", "pick up the red block"]
    command += ["--then", "touch the blue block", "--seed", "3", "--after", "0.5"]
    command += ["--out", str(out), "--json", str(tmp_path / "figures.json")]
    run = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"})
    assert run.returncode == 0, run.stdout + run.stderr
    assert "DONE" in run.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["outcome"] == "SUCCEEDED"
    assert figures["latency_ms"]["inference"]["chunks"] > 5
    bag = Bag(out / "bag")
    assert check_bag(bag).ok, check_bag(bag).violations()
    told = [message.instruction for _, message in bag.messages("action_chunk")]
    assert told[0] == "pick up the red block"
    assert told[-1] == "touch the blue block"
    for name in ("film.mp4", "film.gif", "film.png", "joints.png", "figures.json", "log/policy.log"):
        assert (out / name).stat().st_size > 0, name
