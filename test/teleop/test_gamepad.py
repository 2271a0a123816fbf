# SPDX-License-Identifier: Apache-2.0
"""A gamepad by the bytes of Linux' joystick interface, through a pipe."""

import os
import struct
from pathlib import Path

import pytest

from swiftvla_ros.teleop.gamepad import DEADMAN, Gamepad


def event(kind: int, number: int, value: int) -> bytes:
    """One event of the interface."""
    return struct.pack("=IhBB", 1, value, kind, number)


@pytest.fixture
def pad(tmp_path: Path):
    """A pipe in a device's place: the pad, and where its events are written."""
    os.mkfifo(tmp_path / "js0")
    made = Gamepad(tmp_path / "js0")
    with (tmp_path / "js0").open("wb", buffering=0) as writer:
        yield made, writer
    made.close()


def test_sticks_move_joints_only_while_the_deadman_is_held(pad):
    """Protects against a pad that falls off the table: without the shoulder button nothing moves."""
    made, device = pad
    device.write(event(0x81, DEADMAN, 0) + event(0x82, 2, -32767) + event(0x82, 5, -32767))  # what it says at first
    device.write(event(2, 0, -32767) + event(2, 4, 16384) + event(2, 5, 32767) + event(2, 3, 900))
    assert made.read() == []
    assert made.shares(6) == [0.0] * 6
    half = event(1, DEADMAN, 1)
    device.write(half[:3])
    assert made.read() == []
    device.write(half[3:])
    assert made.read() == []
    assert made.shares(6) == pytest.approx([1.0, 0.0, -0.5, 0.0, 0.0, 1.0], abs=0.01)
    device.write(event(1, DEADMAN, 0))
    made.read()
    assert made.shares(6) == [0.0] * 6


def test_buttons_are_told_once_and_not_those_held_at_the_begin(pad):
    """Protects against an engagement that nobody asked for: only a press counts, not the state at opening."""
    made, device = pad
    device.write(event(0x81, 0, 1))
    assert made.read() == []
    device.write(event(1, 3, 1) + event(1, 3, 0) + event(1, 9, 1))
    assert made.read() == ["emergency_stop"]
    assert made.read() == []
