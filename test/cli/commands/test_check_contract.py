# SPDX-License-Identifier: Apache-2.0
"""``swiftvla check-contract``: mistakes are refused, odd things are asked about."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from swiftvla_ros.cli.main import app
from swiftvla_ros.contract import load_contract
from swiftvla_ros.resources import shipped_robots

CONTRACT = load_contract("so101_sim")


def check(file: Path, text: str, *options: str) -> tuple[int, str]:
    """Check a contract of that text; give the exit code and what was printed."""
    file.write_text(text.replace("urdf: so101.urdf", f"urdf: {CONTRACT.urdf_path}"))
    result = CliRunner().invoke(app, ["check-contract", str(file), *options], env={"COLUMNS": "80", "TERM": "dumb"})
    return result.exit_code, result.output


def test_what_is_odd_is_asked_about_and_refused_if_strict(tmp_path: Path) -> None:
    """Two 5 Hz cameras with a slop of 60 ms were called valid without a word (report F9)."""
    slow = CONTRACT.text.replace("rate_hz: 15.0", "rate_hz: 5.0")
    code, text = check(tmp_path / "mine.yaml", slow)
    assert code == 0
    assert "WARNING" in text
    assert "mine.yaml: policy.pair_slop_s: 0.06 s may never pair cameras 'front' (5 Hz) and 'wrist' (5 Hz)" in text
    assert "valid, with 1 to think about" in text
    assert check(tmp_path / "mine.yaml", slow, "--strict")[0] == 2


@pytest.mark.parametrize("robot", shipped_robots())
def test_shipped_contracts_pass_silently(robot: str) -> None:
    """Protects: the examples to copy from raise no question, strictly taken either."""
    result = CliRunner().invoke(app, ["check-contract", robot, "--strict"])
    assert result.exit_code == 0
    assert "WARNING" not in result.output


def test_limits_in_degrees_are_refused(tmp_path: Path) -> None:
    """Velocities in deg/s passed, and a running arm would have had none (report D)."""
    code, text = check(tmp_path / "mine.yaml", CONTRACT.text.replace("velocity: 2.5", "velocity: 143.0"))
    assert code == 2
    assert "mine.yaml: joints.shoulder_pan.velocity: 143 rad/s is more than any arm has" in text
    assert "143 °/s are 2.496" in text


def test_names_with_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    """Protects: a name is never taken for markup of the terminal, which ended in a traceback or in nothing printed."""
    without_urdf = "\n".join(line for line in CONTRACT.text.splitlines() if not line.startswith("kinematics"))
    named = without_urdf.replace("name: gripper,", "name: '[/red]',").replace("joint: gripper,", "joint: '[/red]',")
    code, text = check(tmp_path / "[bold].yaml", named)
    assert code == 0
    assert text.count("[/red]") == 3
    assert "[bold].yaml: valid" in text
