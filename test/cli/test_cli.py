# SPDX-License-Identifier: Apache-2.0
"""The command line explains itself, and measures what it says."""

import json
import subprocess
import sys
from pathlib import Path

import films
import pytest
from typer.testing import CliRunner

from swiftvla_ros.cli.main import COMMANDS, app
from swiftvla_ros.contract import load_contract


def run(*arguments: str) -> tuple[int, str]:
    """Run ``swiftvla`` with arguments; give its exit code and what it printed."""
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120", "TERM": "dumb"})
    return result.exit_code, result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    """Protects: `--help` of each command works without a robot, a GPU or ROS."""
    code, text = run(command, "--help")
    assert code == 0
    assert "Usage:" in text


@pytest.mark.parametrize("command", ["demo", "eval", "collect", "check-motion", "train"])
def test_every_measuring_command_takes_json(command: str) -> None:
    """Protects: figures can be read by a program, too."""
    assert "--json" in run(command, "--help")[1]


def test_the_list_of_commands_needs_neither_torch_nor_ros() -> None:
    """Protects: the command line answers at once, and on a machine that has neither."""
    code = "import sys, swiftvla_ros.cli.main; print([m for m in ('torch', 'rclpy', 'mujoco') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_good_contract_is_explained() -> None:
    """Protects: the operator sees the limits that will hold."""
    code, text = run("check-contract", "so101_sim")
    assert code == 0
    assert "shoulder_pan" in text
    assert "valid" in text


def test_a_bad_contract_is_refused_with_the_key(tmp_path: Path) -> None:
    """Protects: a missing limit is named with its file and key instead of being guessed."""
    original = load_contract("so101_sim")
    bad = tmp_path / "mine.yaml"
    bad.write_text(original.text.replace("jerk: 150.0, ", "", 1))
    code, text = run("check-contract", str(bad))
    assert code == 2
    assert "mine.yaml" in text
    assert "jerk" in text


def test_a_robot_that_is_not_simulated_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """Protects: another arm's contract is told from a fault of the program, also where a worker meets it first."""
    pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    code, text = run("collect", str(tmp_path), "--robot", "so101_two_arms", "--episodes", "1", "--workers", "1")
    assert code == 2
    assert "left_shoulder_pan" in text
    assert "Traceback" not in text


def test_the_demo_refuses_what_the_scene_has_not(tmp_path: Path) -> None:
    """Protects: an instruction that can't be judged is refused before anything starts."""
    code, text = run("demo", "fold the laundry", "--out", str(tmp_path / "run"))
    assert code == 2
    assert "red, a green and a blue block" in text
    assert not (tmp_path / "run").exists()


def test_cameras_are_tried_and_photographed(tmp_path: Path) -> None:
    """Protects `swiftvla cameras`: what a contract names is read, a missing one is named, pictures are written."""
    base = load_contract("so101_sim")
    (tmp_path / base.file.kinematics.urdf).write_text(base.urdf_path.read_text())
    text = base.text.replace("[640, 480]", "[64, 48]", 1)
    entries = "front: {film: front.mjpeg, repeat: true}, wrist: {device: /dev/v4l/by-id/usb-none}"
    (tmp_path / "arm.yaml").write_text(f"{text}\ndrivers: {{cameras: {{{entries}}}}}\n")
    films.write_mjpeg(tmp_path / "front.mjpeg", pictures := films.jpegs(3))
    figures = tmp_path / "figures.json"
    code, text = run("cameras", "--robot", str(tmp_path / "arm.yaml"), "--try", "0.3", "--snapshot", str(tmp_path),
                     "--json", str(figures))  # fmt: skip
    assert code == 1
    assert "usb-none is not there" in text.replace("\n", " ")
    assert (tmp_path / "front.jpg").read_bytes() in pictures
    trial = json.loads(figures.read_text())["trial"]
    assert (trial["front"]["damaged"], trial["wrist"]["verdict"]) == (0, "error")
    assert trial["front"]["rate_hz"] > 5
