# SPDX-License-Identifier: Apache-2.0
"""Which cameras this machine has: by a path that stays, with their modes, and who uses them."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from swiftvla_ros.drivers.cameras import v4l2
from swiftvla_ros.drivers.cameras.v4l2 import CameraControl, CameraMode

# Below these the kernel shows its devices, their places, and who has which file open.
DEV, SYS, PROC = Path("/dev"), Path("/sys/class/video4linux"), Path("/proc")


@dataclass(frozen=True)
class CameraDevice:
    """A camera on a cable.

    Parameters
    ----------
    path
        The one to write into a contract: it stays, whatever else is plugged in.
    node
        Its present ``/dev/videoN``.
    name, bus
        As its driver calls it, and where it is plugged in.
    usb_mbit_s
        Speed of its USB connection, Mbit/s; None where it is on none.
    used_by
        Processes that have it open, as ``name (number)``; only one's own are seen without being root.
    problem
        Why modes and controls could not be asked; empty where they could.
    """

    path: Path
    node: Path
    name: str = ""
    bus: str = ""
    usb_mbit_s: float | None = None
    used_by: tuple[str, ...] = ()
    modes: tuple[CameraMode, ...] = ()
    controls: dict[int, CameraControl] = field(default_factory=dict)
    problem: str = ""


def find_cameras() -> list[CameraDevice]:
    """List the cameras of this machine; the nodes of a camera that give no pictures are left out."""
    found = []
    nodes = sorted(DEV.glob("video*"), key=lambda node: int(re.sub(r"\D", "", node.name) or 0))
    links = stable_links(DEV)
    names = {node: _read(SYS / node.name / "name") for node in nodes}
    for node in nodes:
        known = CameraDevice(
            stable_path(node, links, names),
            node,
            names[node],
            usb_mbit_s=_usb_speed(SYS / node.name),
            used_by=users_of(node, PROC),
        )
        try:
            with v4l2.opened(node) as device:
                who = v4l2.capability(device)
                if who.is_camera:
                    bus = who.bus_info.decode(errors="replace")
                    modes, controls = tuple(v4l2.modes(device)), v4l2.controls(device)
                    found.append(replace(known, bus=bus, modes=modes, controls=controls))
        except OSError as error:
            found.append(replace(known, problem=open_problem(node, error)))
    return found


def open_problem(path: Path, error: OSError, used_by: Iterable[str] = ()) -> str:
    """Say why a camera could not be opened, and what to do."""
    users = ", ".join(used_by)
    if isinstance(error, FileNotFoundError) or error.errno == errno.ENODEV:
        return f"{path} is not there: plug the camera in, or write a path that `swiftvla cameras` lists"
    if isinstance(error, PermissionError):
        return f"{path} may not be opened: `sudo usermod -aG video $USER` and log in again, which is the group video"
    if error.errno == errno.EBUSY:
        return (
            f"{path} is in use{f' by {users}' if users else ''}: a camera serves one program at a time; end the other"
        )
    return f"{path} can't be opened ({error.strerror or error})"


def stable_links(dev: Path) -> dict[Path, list[Path]]:
    """Map each device to the links below ``dev``/v4l that lead to it: by serial number first, then by place."""
    found: dict[Path, list[Path]] = {}
    for kind in ("by-id", "by-path"):
        for link in sorted((dev / "v4l" / kind).glob("*")):
            found.setdefault(link.resolve(), []).append(link)
    return found


def stable_path(node: Path, links: dict[Path, list[Path]], names: dict[Path, str]) -> Path:
    """Choose the path that stays: by name and serial number, else by the socket, else the node itself.

    Two cameras of one make without serial numbers have one name, and its link leads to either of them: theirs are told
    apart by the sockets they are plugged into.
    """
    own = links.get(node.resolve(), [])
    twins = [other for other in names if other != node and names[other] and names[other] == names.get(node)]
    unnamed = any(
        links.get(twin.resolve()) and not any(link.parent.name == "by-id" for link in links[twin.resolve()])
        for twin in twins
    )
    by_place = [link for link in own if link.parent.name == "by-path"]
    return next(iter(by_place if unnamed and by_place else own), node)


def users_of(node: Path, proc: Path) -> tuple[str, ...]:
    """Name the processes that have ``node`` open, as far as this user may see."""
    users = []
    for folder in proc.glob("[0-9]*"):
        # Not those of other users, nor one that ends just now.
        with suppress(OSError):
            if any(link.readlink() == node for link in (folder / "fd").iterdir()):
                users.append(f"{_read(folder / 'comm')} ({folder.name})")
    return tuple(users)


def no_cameras() -> str:
    """Say what to check on a machine that has none."""
    if sys.platform != "linux":
        return "cameras are found on Linux only (Video4Linux)"
    checks = [
        "plug it in and look at the last lines of `dmesg`",
        "`lsusb` lists it: else try another cable or socket",
        "in a container, pass it on: `--device /dev/video0`, and `-v /dev/v4l:/dev/v4l:ro` for paths that stay",
        "in a virtual machine, hand the USB device over; in WSL, attach it with usbipd",
    ]
    return "\n  - ".join(["no camera: there is no /dev/video*; to check:", *checks])


def _usb_speed(entry: Path) -> float | None:
    """What sysfs says of the USB device whose interface the camera is, Mbit/s."""
    text = _read((entry / "device").resolve().parent / "speed")
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
