# SPDX-License-Identifier: Apache-2.0
"""Which path of a camera stays, who uses it, and what is said where it can't be opened."""

import errno
from pathlib import Path

import pytest

from swiftvla_ros.drivers.cameras.devices import open_problem, stable_links, stable_path, users_of


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """A /dev with a C920, whose serial number is in its name, and two cheap cameras of one make without any."""
    for folder in ("v4l/by-id", "v4l/by-path"):
        (tmp_path / folder).mkdir(parents=True)
    for k, (name, socket) in enumerate([("C920_A1B2", "1:1.0"), ("Cheap", "2:1.0"), ("", "3:1.0")]):
        (tmp_path / f"video{k}").touch()
        if name:
            (tmp_path / f"v4l/by-id/usb-{name}-video-index0").symlink_to(f"../../video{k}")
        (tmp_path / f"v4l/by-path/pci-usb-0:{socket}-video-index0").symlink_to(f"../../video{k}")
    return tmp_path


def test_the_path_that_stays_is_chosen(dev: Path) -> None:
    """Protects contracts: the serial number's path, but the socket's for twins, whose one name leads to either."""
    nodes = [dev / f"video{k}" for k in range(3)]
    names = dict(zip(nodes, ["C920", "Cheap", "Cheap"], strict=True))
    links = stable_links(dev)
    paths = [stable_path(node, links, names).relative_to(dev) for node in nodes]
    assert [str(path.parent) for path in paths] == ["v4l/by-id", "v4l/by-path", "v4l/by-path"]
    assert stable_path(dev / "video7", links, names) == dev / "video7"


def test_who_has_a_camera_open_is_named(tmp_path: Path) -> None:
    """Protects whoever meets "busy": the other program's name and number."""
    (tmp_path / "42" / "fd").mkdir(parents=True)
    (tmp_path / "42" / "comm").write_text("cheese\n")
    (tmp_path / "42" / "fd" / "7").symlink_to("/dev/video0")
    (tmp_path / "43").mkdir()
    assert users_of(Path("/dev/video0"), tmp_path) == ("cheese (42)",)
    assert users_of(Path("/dev/video1"), tmp_path) == ()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOENT, "not there: plug the camera in"),
        (errno.ENODEV, "not there: plug the camera in"),
        (errno.EACCES, "group video"),
        (errno.EBUSY, "in use by cheese (42)"),
        (errno.EIO, "can't be opened"),
    ],
)
def test_why_it_can_not_be_opened_is_said(number: int, said: str) -> None:
    """Protects people from errno: the sentence names the path and what to do."""
    error = OSError(number, "why")
    assert said in open_problem(Path("/dev/video0"), error, ["cheese (42)"])
