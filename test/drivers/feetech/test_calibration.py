# SPDX-License-Identifier: Apache-2.0
"""LeRobot's calibration files, and the radians that they mean."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swiftvla_ros.contract.sections.drivers import SO101_JOINTS
from swiftvla_ros.drivers.feetech.angles import ServoAngles
from swiftvla_ros.drivers.feetech.calibration import (
    ArmRole,
    CalibrationError,
    JointCalibration,
    calibration_path,
    disagreements,
    read_calibration,
    write_calibration,
)

PAN = JointCalibration(1, 0, -1365, 746, 3477)
JOINTS = {joint: replace(PAN, id=n) for n, joint in enumerate(SO101_JOINTS, start=1)}
HANDLE = (-0.17453, 1.74533)


def test_a_file_is_lerobots_and_read_back(tmp_path: Path) -> None:
    """Protects the exchange with LeRobot: its keys, its order, nothing else."""
    write_calibration(tmp_path / "deep" / "arm.json", JOINTS)
    data = json.loads((tmp_path / "deep" / "arm.json").read_text())
    assert data["shoulder_pan"] == {
        "id": 1,
        "drive_mode": 0,
        "homing_offset": -1365,
        "range_min": 746,
        "range_max": 3477,
    }
    assert read_calibration(tmp_path / "deep" / "arm.json", SO101_JOINTS) == JOINTS


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "can't be read"),
        ("[]", "has no joints"),
        ("{}", "'shoulder_pan' is missing"),
        ('{"shoulder_pan": {"id": 1}}', "not LeRobot's format"),
        ('{"shoulder_pan": 3}', "not LeRobot's format"),
        (
            '{"shoulder_pan": {"id": 1, "drive_mode": 0, "homing_offset": 0, "range_min": 9, "range_max": 9}}',
            "shoulder_pan: range_min 9 to range_max 9",
        ),
        (
            '{"shoulder_pan": {"id": 1, "drive_mode": 0, "homing_offset": 0.5, "range_min": 1, "range_max": 9}}',
            "no whole number",
        ),
    ],
)
def test_a_spoiled_file_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    """Protects people from a traceback: file, joint and fix are named."""
    (tmp_path / "arm.json").write_text(text)
    with pytest.raises(CalibrationError, match="calibrate") as refused:
        read_calibration(tmp_path / "arm.json", SO101_JOINTS)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("role", "folder"), [("follower", "robots/so101_follower"), ("leader", "teleoperators/so_leader")]
)
def test_both_of_lerobots_folders_are_looked_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: ArmRole, folder: str
) -> None:
    """Protects arms that were calibrated before LeRobot 0.4.4, which renamed the folders."""
    monkeypatch.setenv("HF_LEROBOT_CALIBRATION", str(tmp_path))
    new = calibration_path("mine", role, tmp_path)
    assert new == tmp_path / {"follower": "robots/so_follower", "leader": "teleoperators/so_leader"}[role] / "mine.json"
    write_calibration(tmp_path / folder / "mine.json", JOINTS)
    assert calibration_path("mine", role, tmp_path) == tmp_path / folder / "mine.json"
    assert calibration_path("here/arm.json", role, tmp_path) == tmp_path / "here" / "arm.json"


def test_servos_that_disagree_are_named() -> None:
    """Protects angles: an offset of another calibration in the servo shifts a joint by that much."""
    assert disagreements(JOINTS, JOINTS) == []
    other = JOINTS | {"elbow_flex": replace(JOINTS["elbow_flex"], homing_offset=-1300)}
    assert disagreements(JOINTS, other) == ["elbow_flex: homing_offset is -1300 in the servo, -1365 in the file"]


def test_radians_are_lerobots_degrees() -> None:
    """Protects datasets: LeRobot's degrees of a real file, (tick - middle) · 360/4095; then wrist roll and gripper."""
    angles = ServoAngles(SO101_JOINTS, JOINTS, "follower", HANDLE)
    radians = angles.radians(np.full(6, 3000.0))
    assert np.allclose(radians[:4], math.radians((3000 - 2111.5) * 360 / 4095), atol=1e-12)
    assert radians[4] == pytest.approx((3000 - 2047) * 2 * math.pi / 4095)
    assert radians[5] == pytest.approx(-0.1745 + (3000 - 746) * 2 * math.pi / 4095)
    assert np.array_equal(angles.ticks(radians), np.full(6, 3000))


def test_no_goal_leaves_the_calibrated_range() -> None:
    """Protects the arm's stops from goals beyond them."""
    angles = ServoAngles(SO101_JOINTS, JOINTS, "follower", HANDLE)
    assert set(angles.ticks(np.full(6, 9.0))) == {3477}
    assert set(angles.ticks(np.full(6, -9.0))) == {746}


def test_a_joint_that_counts_backwards() -> None:
    """Protects drive_mode: the sign turns, the ends swap."""
    backwards = {joint: replace(each, drive_mode=1) for joint, each in JOINTS.items()}
    forward = ServoAngles(SO101_JOINTS, JOINTS, "follower", HANDLE).radians(np.full(6, 3000.0))
    turned = ServoAngles(SO101_JOINTS, backwards, "follower", HANDLE)
    assert np.allclose(turned.radians(np.full(6, 3000.0))[:5], -forward[:5])
    assert turned.radians(np.full(6, 3477.0))[5] == pytest.approx(-0.1745)
    assert np.array_equal(turned.ticks(turned.radians(np.full(6, 3000.0))), np.full(6, 3000))


def test_a_leaders_handle_goes_from_closed_to_open() -> None:
    """Protects the grip: a handle's own range, whatever it is, closes and opens the jaw all the way."""
    angles = ServoAngles(SO101_JOINTS, JOINTS, "leader", HANDLE)
    assert angles.radians(np.full(6, 746.0))[5] == pytest.approx(HANDLE[0])
    assert angles.radians(np.full(6, 3477.0))[5] == pytest.approx(HANDLE[1])
