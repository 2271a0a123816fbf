# SPDX-License-Identifier: Apache-2.0
"""Bags of a teleoperated arm, as `ros2 bag record` leaves them: topics of drivers and a leader, none of ours."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from bag_messages import Messages

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.observation.image_decoding import jpeg_of

ROBOT: Contract = load_contract("so101")
FRONT, WRIST = "/camera/front/image_raw", "/camera/wrist/image_raw/compressed"
STATES, LEADER, COMMANDS = "/joint_states", "/leader/joint_states", "/joint_trajectory_controller/joint_trajectory"
TASK, MARKS = "/task", "/episode_marks"
RED = "pick up the red block"
T0 = 1_760_000_000_000_000_000
LAG_S = 0.08
# A tenth of the driver's: the aspect ratio is what counts, and tests are quick.
SIZE = (64, 48)

Pose = Callable[[float], np.ndarray]
Picture = Callable[[str, float], np.ndarray]


@cache
def _messages() -> Messages:
    return Messages(ROBOT)


def at(seconds: float) -> int:
    """Return a time of the recording, ns."""
    return T0 + round(seconds * 1e9)


def wave(seconds: float) -> np.ndarray:
    """Where the operator wants the joints: each moves at its own pace."""
    return np.asarray(ROBOT.rest + 0.2 * np.sin((1 + 0.3 * np.arange(6)) * seconds))


def scene(camera: str, seconds: float) -> np.ndarray:
    """Show a still board, and a disc that moves with the first joint; the green of the corner tells the time."""
    rows, columns = np.indices((SIZE[1], SIZE[0]))
    board = np.where((rows // 6 + columns // 6) % 2, 90, 190).astype(np.uint8)
    image = np.stack([board] * 3, axis=2)
    x = round(32 + 60 * float(wave(seconds - LAG_S)[0])) + (0 if camera == "front" else 6)
    cv2.circle(image, (x, 24), 8, (220, 30, 30), -1)
    image[:6, :6, 1] = round(10 * seconds) % 256
    return image


def write_teleoperation(
    folder: Path,
    *,
    seconds: float = 4.0,
    texts: Sequence[tuple[float, str]] = ((0.5, RED),),
    marks: Sequence[tuple[float, str]] = (),
    custom: Mapping[str, str] | None = None,
    without: Mapping[str, tuple[float, float]] | None = None,
    unit: float = 1.0,
    lag_s: float = LAG_S,
    pose: Pose = wave,
    command: Pose | None = None,
    picture: Picture = scene,
    image_hz: float = 15.0,
    drop: Sequence[str] = (),
    cut_at: float = -1.0,
    contract: Contract | None = None,
) -> Path:
    """Write a bag; messages are received 3 ms after their stamps.

    ``without`` leaves out a topic's messages between two times, ``drop`` whole topics; ``unit`` is how many of the
    driver's units make a radian; the wrist's picture at ``cut_at`` is cut in half. ``pose`` is what is commanded,
    unless ``command`` is, and is measured ``lag_s`` later.
    """
    messages, entries = _messages(), []
    names = list(ROBOT.joint_names)

    def trajectory(ns: int, goal: np.ndarray) -> Any:
        duration = messages.types["builtin_interfaces/msg/Duration"](0, 50_000_000)
        point = messages.make(
            "trajectory_msgs/msg/JointTrajectoryPoint", positions=goal * unit, time_from_start=duration
        )
        return messages.make("trajectory_msgs/msg/JointTrajectory", ns, joint_names=names, points=[point])

    for k in range(round(seconds * image_hz)):
        t = k / image_hz
        entries.append((t, FRONT, messages.image(at(t), picture("front", t))))
        jpeg = jpeg_of(picture("wrist", t), 95)
        jpeg = jpeg[: len(jpeg) // 2] if abs(t - cut_at) < 1e-6 else jpeg
        entries.append((t + 0.004, WRIST, messages.frame(at(t + 0.004), jpeg)))
    for k in range(round(seconds * 50)):
        t = k / 50
        entries.append((t, STATES, messages.measured(at(t), pose(t - lag_s) * unit)))
        entries.append((t + 0.001, LEADER, messages.measured(at(t + 0.001), pose(t + 0.001) * unit)))
        entries.append((t + 0.002, COMMANDS, trajectory(at(t + 0.002), (command or pose)(t + 0.002))))
    for topic, said in ((TASK, texts), (MARKS, marks)):
        entries += [(t, topic, messages.types["std_msgs/msg/String"](data=text)) for t, text in said]
    with BagWriter(folder, contract, provenance=dict(custom or {})) as writer:
        for t, topic, message in sorted(entries, key=lambda entry: entry[0]):
            begin, end = (without or {}).get(topic, (0.0, 0.0))
            if topic not in drop and not begin <= t < end:
                writer.write_message(topic, message, at(t) + 3_000_000)
    return folder
