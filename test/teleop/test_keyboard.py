# SPDX-License-Identifier: Apache-2.0
"""Keys of a real terminal as a jog: what is held moves, what was let go stops, the others mean something."""

import os
import pty
import time

from swiftvla_ros.teleop.keyboard import HELD_S, Keyboard


def test_keys_of_a_terminal_move_joints_until_they_are_let_go():
    """Protects the deadman over ssh: a key moves its joint while it repeats, and the terminal is given back."""
    outside, inside = pty.openpty()
    with os.fdopen(inside, "r", closefd=True) as terminal, Keyboard(terminal) as keyboard:
        os.write(outside, b"qw\r")
        assert keyboard.read() == ["engage"]
        assert keyboard.shares(6) == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
        os.write(outside, b"A h+")
        assert keyboard.read() == ["stop", "faster"]
        assert keyboard.shares(6) == [-1.0, 1.0, 0.0, 0.0, 0.0, -1.0]
        time.sleep(HELD_S)
        assert keyboard.shares(6) == [0.0] * 6
        os.write(outside, b"\x1b[A")
        assert keyboard.read() == [], "an arrow is not Escape"
        os.write(outside, b"\x1b")
        assert keyboard.read() == ["emergency_stop"]
        os.write(outside, b"x")
        assert keyboard.read() == ["quit"]
    os.close(outside)
