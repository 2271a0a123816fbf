# SPDX-License-Identifier: Apache-2.0
"""Faults that are injected into a teleoperated bag are found, with episode, place and number; a good one has none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from teleoperation import LAG_S, ROBOT, WRIST, scene, wave, write_teleoperation

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.bag_listing import open_bags
from swiftvla_ros.episodes.quality.examination import Examination, examine
from swiftvla_ros.episodes.quality.findings import Finding

Write = Callable[..., None]
# What is drawn of 64×48 px is as sharp as what a camera of 640×480 px shows.
SLOW = ROBOT.with_keys(
    cameras=tuple(c.model_copy(update={"rate_hz": 15.0, "size": (64, 48)}) for c in ROBOT.cameras),
)


def examined(folder: Path, robot: Contract = SLOW) -> Examination:
    """Check the bags of a folder."""
    listed = open_bags(folder, robot, instruction="")
    assert not listed.problems
    return examine(listed.episodes, robot)


def the(found: Examination, check: str, where: str = "") -> Finding:
    """Return the only finding of a kind; of several, that of one place."""
    findings = [f for f in found.findings if f.check == check and (not where or f.where == where)]
    assert len(findings) == 1, [f.line() for f in found.findings]
    return findings[0]


def still_after(seconds: float) -> Callable[[str, float], np.ndarray]:
    """Give a front camera that hangs from a time on."""
    return lambda camera, t: scene(camera, min(t, seconds) if camera == "front" else t)


def blurred(camera: str, t: float) -> np.ndarray:
    """Give a lens that is out of focus."""
    return np.asarray(
        cv2.GaussianBlur(scene(camera, t), (0, 0), 4) if camera == "wrist" else scene(camera, t), np.uint8
    )


def dark(camera: str, t: float) -> np.ndarray:
    """Give a camera with its cap on."""
    return scene(camera, t) // 20 if camera == "front" else scene(camera, t)


def glaring(camera: str, t: float) -> np.ndarray:
    """Give a camera that looks into a lamp."""
    return np.maximum(scene(camera, t), 245) if camera == "front" else scene(camera, t)


def outside(t: float) -> np.ndarray:
    """Give a joint whose calibration is off."""
    pose = wave(t)
    pose[3] = ROBOT.limits.max_position[3] + 0.1 * np.sin(t)
    return pose


def one_joint(speed: float) -> Callable[[float], np.ndarray]:
    """Give a motion of the first joint alone, uneven enough to tell when it was."""
    return lambda t: np.asarray(
        ROBOT.rest + np.eye(6)[0] * 0.3 * (np.sin(speed * t) + 0.5 * np.sin(2.3 * speed * t + 1))
    )


def glitch(t: float) -> np.ndarray:
    """Give one measured state that is another place: the 100th."""
    return wave(t) + (np.eye(6)[1] * 0.9 if abs(t - (2.0 - LAG_S)) < 1e-6 else 0.0)


def frozen_joint(t: float) -> np.ndarray:
    """Give an elbow whose encoder hangs."""
    pose = wave(t)
    pose[2] = 1.0
    return pose


def waits(t: float) -> np.ndarray:
    """Give an arm that begins late."""
    return wave(max(0.0, t - 2.5))


def at_limit(t: float) -> np.ndarray:
    """Give a leader that reaches further than the arm."""
    pose = wave(t)
    pose[0] = ROBOT.limits.max_position[0]
    return pose


def test_a_good_episode_has_no_finding(tmp_path: Path) -> None:
    """Protects from crying wolf: what a person records with two cameras and a leader passes, its lag told."""
    write_teleoperation(tmp_path / "a", lag_s=0.1)
    found = examined(tmp_path)
    assert [f.line() for f in found.findings] == []
    assert found.digests[0].lag_s == pytest.approx(0.1, abs=0.01)


FAULTS: dict[str, tuple[dict[str, Any], str, str, str, float, float]] = {
    # What is injected, and the finding: check, level, where, number, how exact.
    "frozen": ({"picture": still_after(2.0)}, "frozen", "error", "front", 2.0, 0.2),
    "dark": ({"picture": dark}, "dark", "error", "front", 1.0, 0.01),
    "blurred": ({"picture": blurred}, "blurred", "warning", "wrist", 0.002, 0.008),
    "gap": ({"without": {WRIST: (1.0, 2.0)}}, "gaps", "error", WRIST, 0.175, 0.01),
    "stuck": ({"pose": frozen_joint, "command": wave}, "stuck", "error", "elbow_flex", 0.4, 0.05),
    "jump": ({"pose": glitch, "command": wave}, "jump", "error", "shoulder_lift", 0.9, 0.05),
    "slow arm": ({"lag_s": 0.5}, "lag", "warning", "commands", 0.5, 0.01),
    "stamps swapped": ({"lag_s": -0.1}, "lag", "error", "commands", -0.1, 0.01),
    "idle": ({"pose": waits}, "idle", "warning", "arm", 2.5, 0.2),
    "limit": ({"command": at_limit}, "limit", "warning", "shoulder_pan", 1.0, 0.01),
    "glaring": ({"picture": glaring}, "glaring", "error", "front", 1.0, 0.01),
    "outside": ({"pose": outside, "command": wave}, "outside", "warning", "wrist_flex", 0.1, 0.02),
    "slow camera": ({"image_hz": 10.6}, "rate", "warning", "front", 10.6, 0.2),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_injected_fault_is_found(fault: str, tmp_path: Path) -> None:
    """Protects training data: each fault is named with its place and number, and says what to do."""
    options, check, level, where, value, exact = FAULTS[fault]
    write_teleoperation(tmp_path / "a", **options)
    finding = the(examined(tmp_path), check, where)
    assert (finding.episode, finding.level) == ("a", level)
    assert finding.value == pytest.approx(value, abs=exact)
    assert finding.fix


def test_late_pictures_are_found_where_motion_shows_them(tmp_path: Path) -> None:
    """Protects from cameras that stamp late: the lag between picture and joint is measured to a hundredth."""
    move = one_joint(3.0)

    def late(camera: str, t: float) -> np.ndarray:
        image = np.full((48, 64, 3), 60, np.uint8)
        x = 32 + 40 * (move(t - 0.2 - LAG_S)[0] if camera == "front" else move(t - LAG_S)[0])
        columns = np.arange(64)[None, :, None]
        return (image + (120 / (1 + np.exp(-(columns - x) / 2.0))).astype(np.uint8)).astype(np.uint8)

    write_teleoperation(tmp_path / "a", seconds=8.0, pose=move, picture=late)
    finding = the(examined(tmp_path), "picture lag")
    assert (finding.where, finding.level) == ("front", "warning")
    assert finding.value == pytest.approx(0.2, abs=0.03)


def test_what_only_all_episodes_tell(tmp_path: Path) -> None:
    """Protects variety: one start, one wording, one place, a joint that never moves, a copy and a length are told."""
    still = one_joint(3.0)
    for number in range(10):
        pace = 1.0 if number == 3 else 1 + 0.01 * number
        seconds = 0.6 if number == 7 else 1.5
        write_teleoperation(tmp_path / f"e{number}", seconds=seconds, pose=lambda t, p=pace: still(t * p), image_hz=10)
    found = examined(tmp_path)
    assert the(found, "starts").value < 0.02
    assert "all 10 episodes say" in the(found, "instruction").text
    assert the(found, "twice").text == "is the same motion as e0, number for number"
    assert {f.where for f in found.findings if f.check == "still"} == set(ROBOT.joint_names) - {"shoulder_pan"}
    assert {f.episode for f in found.findings if f.check == "length"} == {"e7"}


def test_slips_of_the_finger_are_told_and_other_tasks_are_not(tmp_path: Path) -> None:
    """Protects the words: a typo splits a task in two, another colour is another task."""
    for number, text in enumerate(("pick up the red block", "pick up the red blokc", "pick up the blue block")):
        write_teleoperation(tmp_path / f"e{number}", seconds=1.5, texts=[(0.1, text)])
    assert "blokc" in the(examined(tmp_path), "instruction").text


def test_another_contract_than_the_recordings_is_told(tmp_path: Path) -> None:
    """Protects from training with one camera geometry and running with another: keys are named, topics may differ."""
    write_teleoperation(tmp_path / "a", seconds=1.0, contract=ROBOT)
    front = ROBOT.camera("front").model_copy(update={"rotate_deg": 180})
    finding = the(examined(tmp_path, ROBOT.with_keys(cameras=(front, ROBOT.camera("wrist")))), "contract")
    assert finding.where == "cameras.front.rotate_deg"
    assert "recorded with 0, and given is 180" in finding.text


def test_things_that_always_lie_at_one_place_are_told(tmp_path: Path) -> None:
    """Protects from a policy that knows one place: where something differs between first pictures, and how far."""
    for number in range(6):
        x = 40 + number % 2

        def thing(camera: str, t: float, x: int = x, number: int = number) -> np.ndarray:
            image = scene(camera, min(t, 0.0))
            cv2.circle(image, (x, 10), 3, (30, 30, 40 * number), -1)
            return image

        write_teleoperation(tmp_path / f"e{number}", seconds=1.2, picture=thing, image_hz=10)
    assert the(examined(tmp_path), "places").where == "front"


def test_a_gripper_that_hardly_moves_is_told(tmp_path: Path) -> None:
    """Protects grasps: a gripper that uses a tenth of its way was clipped, or is calibrated wrongly."""
    write_teleoperation(
        tmp_path / "a", pose=lambda t: ROBOT.rest + np.array([0.2, 0.2, 0.2, 0.2, 0.2, 0.05]) * np.sin(t)
    )
    assert the(examined(tmp_path), "gripper").value == pytest.approx(0.08, abs=0.02)
