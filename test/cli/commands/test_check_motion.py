# SPDX-License-Identifier: Apache-2.0
"""``swiftvla check-motion`` finds in a bag what an arm must never be told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typer.testing import CliRunner

from swiftvla_ros.cli.main import app
from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.writer import BagWriter

TICK_NS = 10_000_000


def record(folder: Path, contract: Contract, messages: Any, positions: NDArray[np.float64]) -> Path:
    """Record commands at 100 Hz."""
    with BagWriter(folder, contract) as writer:
        for i, position in enumerate(positions):
            ns = 10**9 + i * TICK_NS
            writer.write_message("/executor_state", messages.executor_state(ns, position), ns)
    return folder


def sine(contract: Contract, amplitude: float = 0.05) -> NDArray[np.float64]:
    """Three seconds of a slow sine around rest, for all joints."""
    t = np.arange(300) * TICK_NS * 1e-9
    return contract.rest + amplitude * np.sin(2 * t)[:, None] * np.ones(len(contract.joints))


def check(bag: Path, *arguments: str) -> tuple[int, str]:
    """Run the command; give its exit code and what it printed."""
    result = CliRunner().invoke(app, ["check-motion", str(bag), *arguments], env={"COLUMNS": "120"})
    return result.exit_code, result.output


def test_a_smooth_motion_passes(contract: Contract, messages: Any, tmp_path: Path) -> None:
    """Protects: the check does not cry wolf, and its figures are the true ones."""
    bag = record(tmp_path / "bag", contract, messages, sine(contract))
    code, text = check(bag, "--json", str(tmp_path / "figures.json"))
    assert code == 0, text
    assert "inside all limits" in text
    figures = json.loads((tmp_path / "figures.json").read_text())
    fastest = 0.05 * 2 / contract.joints[0].velocity
    assert abs(figures["worst_ratio"]["shoulder_pan"]["velocity"] - fastest) < 1e-3


def test_a_jump_of_one_tick_is_found(contract: Contract, messages: Any, tmp_path: Path) -> None:
    """Protects: a seam between chunks that jerks the arm fails the run, with the joint's name."""
    positions = sine(contract)
    positions[150:, 2] += 0.02
    code, text = check(record(tmp_path / "bag", contract, messages, positions))
    assert code == 1
    assert "joint 'elbow_flex'" in text
    assert "jerk limit" in text


def test_a_position_beyond_the_range_is_found(contract: Contract, messages: Any, tmp_path: Path) -> None:
    """Protects: joint ranges hold in what was commanded, not only in what was asked for."""
    positions = sine(contract)
    positions[:, 1] += contract.limits.max_position[1] - positions[:, 1].max() + 0.01
    code, text = check(record(tmp_path / "bag", contract, messages, positions))
    assert code == 1
    assert "joint 'shoulder_lift'" in text
    assert "position limit" in text
