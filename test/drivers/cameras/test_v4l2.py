# SPDX-License-Identifier: Apache-2.0
"""The ioctls' structures, byte by byte, against a device that answers as the kernel does."""

import ctypes
import errno
import struct

import pytest

from swiftvla_ros.contract.sections.camera_driver import CameraDriver
from swiftvla_ros.drivers.cameras import settings, v4l2
from swiftvla_ros.drivers.cameras.v4l2 import CameraMode, ControlId

MJPG, YUYV = (int.from_bytes(name, "little") for name in (b"MJPG", b"YUYV"))
SIZES = {MJPG: [(1280, 720), (640, 480)], YUYV: [(640, 480)]}
FRACTIONS = {(MJPG, 640): [(1, 30), (1, 15)], (MJPG, 1280): [(1001, 30000)], (YUYV, 640): [(1, 30)]}


class Kernel:
    """Answers as a UVC camera's driver does, by the offsets of linux/videodev2.h; ``values`` are its controls."""

    def __init__(self) -> None:
        self.values = {
            ControlId.WHITE_BALANCE_AUTO: 1,
            ControlId.WHITE_BALANCE_K: 4000,
            ControlId.EXPOSURE_AUTO: 3,
            ControlId.EXPOSURE_100_US: 157,
            ControlId.EXPOSURE_MAY_SLOW_DOWN: 1,
        }
        self.set: list[tuple[int, int]] = []

    def ioctl(self, _device: int, number: int, answer: ctypes.Structure) -> None:
        """Fill in an answer's bytes."""
        view = memoryview(answer).cast("B")
        index = struct.unpack_from("<I", view)[0]
        if number == v4l2.QUERYCAP:
            struct.pack_into("<16s32s32sIII", view, 0, b"uvcvideo", b"C920", b"usb-0000:00:14.0-1", 1, 1 << 31 | 1, 1)
        elif number == v4l2.ENUM_FMT and index < len(SIZES):
            struct.pack_into("<I", view, 44, list(SIZES)[index])
        elif number == v4l2.ENUM_FRAMESIZES and index < len(sizes := SIZES[struct.unpack_from("<I", view, 4)[0]]):
            struct.pack_into("<III", view, 8, 1, *sizes[index])
        elif number == v4l2.ENUM_FRAMEINTERVALS:
            fractions = FRACTIONS[struct.unpack_from("<II", view, 4)]
            if index >= len(fractions):
                raise OSError(errno.EINVAL, "no more")
            struct.pack_into("<III", view, 16, 1, *fractions[index])
        elif number == v4l2.QUERYCTRL:
            later = [each for each in sorted(self.values) if each > index - (1 << 31)]
            if not later:
                raise OSError(errno.EINVAL, "no more")
            struct.pack_into("<II32siiiiI", view, 0, later[0], 1, b"a control", 0, 10000, 1, self.values[later[0]], 0)
        elif number == v4l2.G_CTRL:
            struct.pack_into("<i", view, 4, self.values[index])
        elif number == v4l2.S_CTRL:
            value = struct.unpack_from("<i", view, 4)[0]
            if index == ControlId.EXPOSURE_100_US and self.values[ControlId.EXPOSURE_AUTO] != 1:
                raise OSError(errno.EACCES, "Permission denied")
            self.set.append((index, value))
            self.values[index] = min(value, 6500)
        else:
            raise OSError(errno.EINVAL, "no more")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A camera behind every file descriptor."""
    camera = Kernel()
    monkeypatch.setattr(v4l2.fcntl, "ioctl", camera.ioctl)
    return camera


def test_structures_and_numbers_are_the_kernels() -> None:
    """Protects memory: sizes and ioctl numbers as a C program with linux/videodev2.h prints them (x86_64, aarch64)."""
    sizes = {
        v4l2.Capability: 104,
        v4l2.FormatDescription: 64,
        v4l2.FrameSize: 44,
        v4l2.FrameInterval: 52,
        v4l2.ControlDescription: 68,
        v4l2.ControlValue: 8,
    }
    assert {kind: ctypes.sizeof(kind) for kind in sizes} == sizes
    numbers = (v4l2.QUERYCAP, v4l2.ENUM_FMT, v4l2.ENUM_FRAMESIZES, v4l2.ENUM_FRAMEINTERVALS)
    assert numbers == (0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B)
    assert (v4l2.QUERYCTRL, v4l2.G_CTRL, v4l2.S_CTRL) == (0xC0445624, 0xC008561B, 0xC008561C)


@pytest.mark.usefixtures("kernel")
def test_modes_and_controls_are_listed() -> None:
    """Protects `swiftvla cameras`: every format with its sizes and rates, every control with its scale."""
    assert v4l2.capability(0).is_camera
    assert v4l2.capability(0).card == b"C920"
    assert v4l2.modes(0) == [
        CameraMode("MJPG", 1280, 720, (29.97,)),
        CameraMode("MJPG", 640, 480, (30.0, 15.0)),
        CameraMode("YUYV", 640, 480, (30.0,)),
    ]
    assert str(v4l2.modes(0)[1]) == "MJPG 640×480 at 30, 15 Hz"
    listed = v4l2.controls(0)
    assert listed[ControlId.EXPOSURE_100_US].now == 157
    assert len(listed) == 5


def test_a_stepwise_size_is_its_largest() -> None:
    """Protects cameras whose driver scales: they give ranges."""
    size = v4l2.FrameSize.from_buffer_copy(struct.pack("<11I", 0, MJPG, 3, 32, 1920, 2, 24, 1080, 2, 0, 0))
    assert size.size == (1920, 1080)


def test_what_is_locked_stays_so(kernel: Kernel, tmp_path) -> None:
    """Protects from pictures that change by themselves: automatics go off first, values are read back."""
    (tmp_path / "video0").touch()
    driver = CameraDriver(device="/dev/video0", exposure_ms=10, white_balance_k=8000, gain=3)
    problems = settings.apply_settings(tmp_path / "video0", driver)
    assert kernel.set == [
        (ControlId.EXPOSURE_MAY_SLOW_DOWN, 0),
        (ControlId.EXPOSURE_AUTO, 1),
        (ControlId.EXPOSURE_100_US, 100),
        (ControlId.WHITE_BALANCE_AUTO, 0),
        (ControlId.WHITE_BALANCE_K, 8000),
    ]
    assert len(problems) == 2
    assert "white_balance_k: the camera did not take 8000 for 'a control': it is at 6500 now; it takes 0" in problems[0]
    assert problems[1] == "gain: this camera has no such control; remove the key"


def test_what_is_left_out_is_the_cameras(kernel: Kernel, tmp_path) -> None:
    """Protects from what the last program left behind: V4L2 keeps it until the camera is unplugged."""
    (tmp_path / "video0").touch()
    kernel.values |= {ControlId.EXPOSURE_AUTO: 1, ControlId.WHITE_BALANCE_AUTO: 0}
    assert settings.apply_settings(tmp_path / "video0", CameraDriver(device="/dev/video0")) == []
    assert dict(kernel.set) == {
        ControlId.EXPOSURE_MAY_SLOW_DOWN: 0,
        ControlId.EXPOSURE_AUTO: 3,
        ControlId.WHITE_BALANCE_AUTO: 1,
    }
