# SPDX-License-Identifier: Apache-2.0
"""A terminal's keys as a jog; works over ssh, which carries presses and repeats but no releases."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from types import TracebackType
from typing import TextIO

UP, DOWN = "qwertyui", "asdfghjk"
"""Keys that move the first joint, the second and so on, one way and the other: rows of the keyboard."""

KEYS = {
    "\r": "engage",
    "\n": "engage",
    "\x7f": "release",
    "\b": "release",
    " ": "stop",
    "!": "emergency_stop",
    "\x1b": "emergency_stop",
    "+": "faster",
    "-": "slower",
    "x": "quit",
    "\x03": "quit",
}
"""What other keys do: Enter, Backspace, Space, ! or Escape, + and -, x or Ctrl-C."""

HELD_S = 0.15
"""A key counts as held for so long after it came: repeats come each 30 ms or so, its release never does."""


class Keyboard:
    """Keys of a terminal as they are pressed, unechoed; a context manager that gives the terminal back."""

    def __init__(self, terminal: TextIO | None = None) -> None:
        self._terminal = sys.stdin if terminal is None else terminal
        self._shares: dict[int, tuple[float, float]] = {}

    def __enter__(self) -> Keyboard:
        self._file = self._terminal.fileno()
        self._before = termios.tcgetattr(self._file)
        tty.setcbreak(self._file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)

    def read(self) -> list[str]:
        """Take in what was pressed since; return what of it are ``KEYS``. A closed terminal is ``quit``."""
        said: list[str] = []
        now = time.monotonic()
        while select.select([self._file], [], [], 0.0)[0]:
            data = os.read(self._file, 256).decode(errors="ignore")
            if not data:
                return [*said, "quit"]
            if data.startswith("\x1b") and len(data) > 1:
                continue  # an arrow or another key that is a sequence, not Escape
            for key in data:
                if key in KEYS:
                    said.append(KEYS[key])
                elif key.lower() in UP + DOWN:
                    row = UP if key.lower() in UP else DOWN
                    self._shares[row.index(key.lower())] = (1.0 if row is UP else -1.0, now)
        return said

    def shares(self, joints: int) -> list[float]:
        """How fast each joint shall move: -1, 0 or 1 of its speed."""
        fresh = {joint: share for joint, (share, at) in self._shares.items() if time.monotonic() - at < HELD_S}
        return [fresh.get(joint, 0.0) for joint in range(joints)]
