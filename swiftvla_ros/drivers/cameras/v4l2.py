# SPDX-License-Identifier: Apache-2.0
"""The few ioctls of Video4Linux that a camera's listing and settings need; pictures are read by PyAV.

Structures, numbers and flags are those of the kernel's ``linux/videodev2.h`` and ``linux/v4l2-controls.h`` (the user
space interface, GPL-2.0 WITH Linux-syscall-note OR BSD-3-Clause), written out anew.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import TypeVar

Entry = TypeVar("Entry", bound=ctypes.Structure)

_U32, _S32 = ctypes.c_uint32, ctypes.c_int32
_WRITE, _READ = 1, 2
_CAPTURE = 1
_HAS_DEVICE_CAPS = 0x8000_0000
_VIDEO_CAPTURE = 0x1
_DISCRETE = 1
_NEXT_CONTROL = 0x8000_0000
_DISABLED = 0x1
# No camera has more formats, sizes, rates or controls; a driver that never says "no more" ends here.
_MOST = 256


class Capability(ctypes.Structure):
    """``struct v4l2_capability``: who the device is."""

    _fields_ = (
        ("driver", ctypes.c_char * 16),
        ("card", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        ("version", _U32),
        ("capabilities", _U32),
        ("device_caps", _U32),
        ("reserved", _U32 * 3),
    )

    @property
    def is_camera(self) -> bool:
        """Whether this very node gives pictures; a webcam has a second one for metadata."""
        caps = self.device_caps if self.capabilities & _HAS_DEVICE_CAPS else self.capabilities
        return bool(caps & _VIDEO_CAPTURE)


class FormatDescription(ctypes.Structure):
    """``struct v4l2_fmtdesc``."""

    _fields_ = (
        ("index", _U32),
        ("type", _U32),
        ("flags", _U32),
        ("description", ctypes.c_char * 32),
        ("pixelformat", _U32),
        ("mbus_code", _U32),
        ("reserved", _U32 * 3),
    )


class FrameSize(ctypes.Structure):
    """``struct v4l2_frmsizeenum``; of a range, the numbers are [least, most, step] of the width, then of the height."""

    _fields_ = (
        ("index", _U32),
        ("pixel_format", _U32),
        ("type", _U32),
        ("numbers", _U32 * 6),
        ("reserved", _U32 * 2),
    )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px; of a range its largest."""
        return (self.numbers[0], self.numbers[1]) if self.type == _DISCRETE else (self.numbers[1], self.numbers[4])


class FrameInterval(ctypes.Structure):
    """``struct v4l2_frmivalenum``; of a range, the first fraction is the shortest interval."""

    _fields_ = (
        ("index", _U32),
        ("pixel_format", _U32),
        ("width", _U32),
        ("height", _U32),
        ("type", _U32),
        ("numbers", _U32 * 6),
        ("reserved", _U32 * 2),
    )

    @property
    def rate_hz(self) -> float:
        """Pictures a second; of a range the most."""
        return self.numbers[1] / self.numbers[0] if self.numbers[0] else 0.0


class ControlDescription(ctypes.Structure):
    """``struct v4l2_queryctrl``."""

    _fields_ = (
        ("id", _U32),
        ("type", _U32),
        ("name", ctypes.c_char * 32),
        ("minimum", _S32),
        ("maximum", _S32),
        ("step", _S32),
        ("default_value", _S32),
        ("flags", _U32),
        ("reserved", _U32 * 2),
    )


class ControlValue(ctypes.Structure):
    """``struct v4l2_control``."""

    _fields_ = (("id", _U32), ("value", _S32))


def _number(direction: int, of: int, structure: type[ctypes.Structure]) -> int:
    """The ioctl's number, as ``linux/ioctl.h`` composes it."""
    return direction << 30 | ctypes.sizeof(structure) << 16 | ord("V") << 8 | of


QUERYCAP = _number(_READ, 0, Capability)
ENUM_FMT = _number(_READ | _WRITE, 2, FormatDescription)
G_CTRL = _number(_READ | _WRITE, 27, ControlValue)
S_CTRL = _number(_READ | _WRITE, 28, ControlValue)
QUERYCTRL = _number(_READ | _WRITE, 36, ControlDescription)
ENUM_FRAMESIZES = _number(_READ | _WRITE, 74, FrameSize)
ENUM_FRAMEINTERVALS = _number(_READ | _WRITE, 75, FrameInterval)


class ControlId(IntEnum):
    """The controls that are locked."""

    WHITE_BALANCE_AUTO = 0x0098_090C
    GAIN = 0x0098_0913
    WHITE_BALANCE_K = 0x0098_091A
    EXPOSURE_AUTO = 0x009A_0901
    EXPOSURE_100_US = 0x009A_0902
    EXPOSURE_MAY_SLOW_DOWN = 0x009A_0903
    FOCUS = 0x009A_090A
    FOCUS_AUTO = 0x009A_090C


@dataclass(frozen=True)
class CameraMode:
    """A format (four letters, such as ``MJPG``), a size in px, and the rates that go with it, Hz, fastest first."""

    format: str
    width: int
    height: int
    rates_hz: tuple[float, ...]

    def __str__(self) -> str:
        """As people read it."""
        return f"{self.format} {self.width}×{self.height} at {', '.join(f'{hz:g}' for hz in self.rates_hz) or '?'} Hz"


@dataclass(frozen=True)
class CameraControl:
    """A setting of the camera: what it may be, and is now (None: it can't be read), on its own scale."""

    name: str
    least: int
    most: int
    default: int
    now: int | None


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a device beside whoever reads it; OSError where that is not possible."""
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def capability(device: int) -> Capability:
    """Ask a device who it is; OSError where it is no video device."""
    answer = Capability()
    fcntl.ioctl(device, QUERYCAP, answer)
    return answer


def modes(device: int) -> list[CameraMode]:
    """List a camera's formats, sizes and rates."""
    found = []
    for kind in _each(device, ENUM_FMT, partial(FormatDescription, type=_CAPTURE)):
        for of_size in _each(device, ENUM_FRAMESIZES, partial(FrameSize, pixel_format=kind.pixelformat)):
            width, height = of_size.size
            of_rate = partial(FrameInterval, pixel_format=kind.pixelformat, width=width, height=height)
            rates = {round(each.rate_hz, 3) for each in _each(device, ENUM_FRAMEINTERVALS, of_rate)}
            found.append(CameraMode(four_letters(kind.pixelformat), width, height, tuple(sorted(rates, reverse=True))))
    return found


def controls(device: int) -> dict[int, CameraControl]:
    """List a camera's settings by their numbers."""
    found: dict[int, CameraControl] = {}
    asked = 0
    for _ in range(_MOST):
        answer = ControlDescription(id=asked | _NEXT_CONTROL)
        try:
            fcntl.ioctl(device, QUERYCTRL, answer)
        except OSError:
            break  # the last one was the last
        asked = answer.id
        if not answer.flags & _DISABLED:
            found[asked] = CameraControl(
                answer.name.decode(errors="replace"),
                answer.minimum,
                answer.maximum,
                answer.default_value,
                get_control(device, asked),
            )
    return found


def get_control(device: int, number: int) -> int | None:
    """A setting as it is; None where it can't be read, as a button can't."""
    answer = ControlValue(id=number)
    try:
        fcntl.ioctl(device, G_CTRL, answer)
    except OSError:
        return None
    return int(answer.value)


def set_control(device: int, number: int, value: int) -> None:
    """Change a setting; OSError where the camera does not take it."""
    fcntl.ioctl(device, S_CTRL, ControlValue(id=number, value=value))


def four_letters(pixelformat: int) -> str:
    """Name a pixel format as the kernel does."""
    return pixelformat.to_bytes(4, "little").decode("latin-1").strip()


def _each(device: int, number: int, ask: Callable[..., Entry]) -> Iterator[Entry]:
    """Ask for the entries of a list, one by one, until the driver says that there are no more."""
    for index in range(_MOST):
        entry = ask(index=index)
        try:
            fcntl.ioctl(device, number, entry)
        except OSError:
            return
        yield entry
