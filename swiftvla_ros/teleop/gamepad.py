# SPDX-License-Identifier: Apache-2.0
"""A gamepad by Linux' joystick interface (kernel documentation, input/joydev/joystick-api): 8 bytes an event."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path

_EVENT = struct.Struct("=IhBB")  # ms, value, type, number
_BUTTON, _AXIS, _INITIAL = 0x01, 0x02, 0x80
_FULL = 32767.0
# A stick at rest is not quite at zero.
_DEAD_ZONE = 0.1

DEADMAN = 5
"""The button (right shoulder) that has to be held for the arm to move."""

BUTTONS = {0: "engage", 1: "release", 2: "stop", 3: "emergency_stop"}
"""What the other buttons do: A, B, X and Y of an Xbox pad, as the kernel numbers them."""

# Of the xpad driver: sticks 0, 1 and 3, 4, triggers 2 and 5, cross 6, 7. Each joint's axes, with their signs; further
# joints have none. The last joint, mostly a gripper, is on the triggers.
_STICKS = (((0, -1),), ((1, -1),), ((4, -1),), ((7, -1),), ((3, 1),), ((6, 1),))
_TRIGGERS = ((5, 0.5), (2, -0.5))


class Gamepad:
    """Reads a device such as ``/dev/input/js0``; raises OSError where that can't be opened, or is gone."""

    def __init__(self, device: Path) -> None:
        self._file = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
        self._rest = b""
        self._axes: dict[int, float] = {}
        self._held: set[int] = set()

    def close(self) -> None:
        """Close the device."""
        os.close(self._file)

    @property
    def deadman(self) -> bool:
        """Whether the button is held without which nothing moves."""
        return DEADMAN in self._held

    def read(self) -> list[str]:
        """Take in what happened since; return what was pressed, of ``BUTTONS``.

        Raises
        ------
        OSError
            The pad was unplugged.
        """
        pressed = []
        try:
            while data := os.read(self._file, 64 * _EVENT.size):
                self._rest += data
        except BlockingIOError:
            pass
        while len(self._rest) >= _EVENT.size:
            _, value, kind, number = _EVENT.unpack_from(self._rest)
            self._rest = self._rest[_EVENT.size :]
            if kind & ~_INITIAL == _AXIS:
                self._axes[number] = value / _FULL
            elif kind & ~_INITIAL == _BUTTON:
                (self._held.add if value else self._held.discard)(number)
                if value and not kind & _INITIAL and number in BUTTONS:
                    pressed.append(BUTTONS[number])
        return pressed

    def shares(self, joints: int) -> list[float]:
        """How fast each joint shall move, -1 … 1 of its speed; nothing while the deadman is not held."""
        axes: Sequence[Sequence[tuple[int, float]]] = [*_STICKS[: joints - 1], *[()] * (joints - 1 - len(_STICKS))]
        if not self.deadman:
            return [0.0] * joints
        return [self._share(axis) for axis in (*axes, _TRIGGERS)]

    def _share(self, axes: Sequence[tuple[int, float]]) -> float:
        # A trigger that was never moved says 0, one at rest -1: only the difference of both counts.
        value = sum(sign * self._axes.get(number, -1.0 if len(axes) > 1 else 0.0) for number, sign in axes)
        return 0.0 if abs(value) < _DEAD_ZONE else max(-1.0, min(1.0, value))
