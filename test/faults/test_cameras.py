# SPDX-License-Identifier: Apache-2.0
"""Cameras and their nodes that fail, or seem to."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")

from fault_bounds import HOLD, NO_CHUNKS, ROWS_END_S
from lifecycle_msgs.msg import Transition

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]


def test_camera_dead(system: Any, fault: Any) -> None:
    """A camera driver that ends: the rows that are left, then hold; the policy names the camera."""
    row = fault("camera dead", "the driver publishes no more wrist images")
    system.driver.dead.add("wrist")
    row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS, policy="camera 'wrist' stopped")
    system.driver.heal()
    row.recovers("images are back")


def test_camera_frozen(system: Any, fault: Any) -> None:
    """A driver that repeats its last image, stamp and all: the same as a dead one."""
    row = fault("camera frozen", "the driver repeats its last front image")
    system.driver.frozen.add("front")
    row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS, policy="camera 'front' stopped")
    system.driver.heal()
    row.recovers("new images")


def test_cameras_late(system: Any, fault: Any) -> None:
    """Images that show the scene of 0.7 s ago are not acted on."""
    row = fault("cameras late", "all images arrive 0.7 s after their stamps")
    system.driver.late_s = 0.7
    row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS, policy="s behind this clock")
    system.driver.heal()
    row.recovers("images in time")


def test_camera_of_wrong_size(system: Any, fault: Any) -> None:
    """A driver that starts again at another resolution: refused with both sizes named, never a distorted view."""
    row = fault("camera at wrong size", "images of 320×240 px instead of 640×480")
    system.driver.size = (320, 240)
    row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS, policy="stopped: its newest stamp is")
    assert "got 320×240 px, expected 640×480" in system.nodes["camera_front"].output()
    system.driver.heal()
    row.recovers("right size")


def test_camera_node_hung(system: Any, fault: Any) -> None:
    """A camera process that stops computing: the same as a dead camera."""
    row = fault("camera process hung", "SIGSTOP to camera_node")
    system.send(signal.SIGSTOP, "camera_front")
    row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS, policy="camera 'front' stopped")
    system.send(signal.SIGCONT, "camera_front")
    row.recovers("SIGCONT")


def test_camera_repeats_a_picture(system: Any, fault: Any) -> None:
    """A driver that gives its last picture new stamps while the arm moves: camera_node refuses it after its time."""
    row = fault("camera repeats a picture", "one front picture with fresh stamps (camera_node: repeated_for_s 0.5)")
    system.driver.repeated.add("front")
    row.ends_in(HOLD, 0.5 + ROWS_END_S, *NO_CHUNKS, policy="camera 'front' stopped")
    assert "the driver repeats it" in system.nodes["camera_front"].output()
    system.driver.heal()
    row.recovers("new images")


def test_still_scene(system: Any, fault: Any) -> None:
    """A simulated scene in which nothing moves, with fresh stamps: the resting arm's pictures are believed (F5)."""
    row = fault("still simulator", "pictures with fresh stamps that change with the arm alone, which rests")
    system.change_state("policy", Transition.TRANSITION_DEACTIVATE)
    system.wait(lambda: system.states.last.mode == HOLD, "the arm holds")
    system.driver.still = True
    row.begins()
    system.wait(lambda: time.time() - row.begin_s > 1.5, "the scene is still for longer than repeated_for_s")
    system.change_state("policy", Transition.TRANSITION_ACTIVATE)
    assert system.instruct("pick up the red block").success
    row.safe, row.codes = "goes on", "no complaint"
    row.recovers("the policy is told what to do")
    system.driver.heal()
