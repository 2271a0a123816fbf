# SPDX-License-Identifier: Apache-2.0
"""``swiftvla calibrate`` as a person runs it, on the emulated bus."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servo_arm import GRIPPER, REST
from typer.testing import CliRunner

from swiftvla_ros.cli.main import app
from swiftvla_ros.cli.output import console
from swiftvla_ros.contract.sections.drivers import SO101_JOINTS
from swiftvla_ros.drivers.feetech.calibration import read_calibration
from swiftvla_ros.drivers.feetech.emulated_arm import BusFaults, EmulatedArm
from swiftvla_ros.drivers.feetech.registers import HOMING_OFFSET

pytest.importorskip("serial", reason="pyserial is not installed: pip install '.[so101]'")


@pytest.fixture
def emulated(tmp_path: Path) -> Iterator[EmulatedArm]:
    """Lend a follower at rest."""
    arm = EmulatedArm(tmp_path, "follower", REST, GRIPPER)
    yield arm
    arm.close()


def words(arm: EmulatedArm, *options: str, calibration: Path | None = None) -> list[str]:
    """What is typed for the emulated arm."""
    return ["calibrate", "--port", str(arm.bus.link), "--calibration", str(calibration or arm.file), *options]


def test_a_person_is_led_through(emulated: EmulatedArm, tmp_path: Path, wait_until: Callable[..., None]) -> None:
    """Protects the whole way: questions, a hand on the arm, LeRobot's file, servos that agree with it."""
    file = tmp_path / "new" / "mine.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "swiftvla_ros.cli.main", *words(emulated, calibration=file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None

    lines: list[str] = []

    def answer(asked: str, line: str) -> None:
        for printed in process.stdout or ():
            lines.append(printed)
            if asked in printed:
                print(line, file=process.stdin, flush=True)
                return
        pytest.fail(f"it never asked: {asked}\n{''.join(lines)}")

    answer("Go on? [y/N]", "y")
    answer("middle of its range", "")
    for printed in process.stdout:
        if "Enter ends it" in printed:
            break
    wait_until(lambda: emulated.servos["gripper"].get(HOMING_OFFSET) != 1401, "the offsets are written")
    seen = emulated.bus.requests
    for sign in (-1, 1):
        emulated.bus.push(dict.fromkeys(SO101_JOINTS, 2047.0 + sign * 700))
        seen = emulated.bus.requests
        wait_until(lambda seen=seen: emulated.bus.requests > seen + 2, "it looks")
    print(file=process.stdin, flush=True)
    answer("into the servos, and the file? [y/N]", "y")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "wrote" in output
    found = read_calibration(file, SO101_JOINTS)
    assert (found["elbow_flex"].range_min, found["elbow_flex"].range_max) == (1347, 2747)
    assert found["elbow_flex"].homing_offset == emulated.servos["elbow_flex"].get(HOMING_OFFSET)


@pytest.mark.parametrize(
    ("option", "answers", "shown", "status"),
    [
        ("--report", "", ["STS3215", "3.10", "the servos agree", "numbers that answer"], 0),
        ("--restore", "", ["nothing to write"], 0),
        ("--check", "\n", ["shoulder_pan", "+ turns the arm to its own right", "-0.17: closed"], 0),
        ("--arm", "n\n", ["nothing was calibrated"], 2),
    ],
)
def test_what_is_shown(
    emulated: EmulatedArm,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    answers: str,
    shown: list[str],
    status: int,
) -> None:
    """Protects people and scripts: each way of using it answers, and a no leaves all as it was."""
    monkeypatch.setattr(console, "_width", 200)
    result = CliRunner().invoke(app, words(emulated, option), input=answers)
    assert result.exit_code == status, result.output
    assert [text for text in shown if text not in result.output] == [], result.output


def test_a_wrongly_numbered_servo_is_named(emulated: EmulatedArm) -> None:
    """Protects whoever built the arm: which joint, which number is there instead, what to do."""
    emulated.order(BusFaults(renumbered="wrist_flex"))
    result = CliRunner().invoke(app, words(emulated))
    assert result.exit_code == 2
    assert "wrist_flex (servo 4) does not answer" in result.output
    assert "perhaps it is 12" in result.output
