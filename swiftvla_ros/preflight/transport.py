# SPDX-License-Identifier: Apache-2.0
"""What decides on this machine whether messages get through: domain, discovery range, Fast DDS profile, /dev/shm, IPv4.

Nothing of ROS is imported: this is read from the environment, a file and the kernel.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where POSIX shared memory lies, and Fast DDS's segments)
# What Fast DDS does where no profile says otherwise.
_DEFAULT_SEGMENT_BYTES = 512 * 1024
_DEFAULT_LEASE_S, _DEFAULT_ANNOUNCEMENT_S = 20.0, 3.0
_GET_ADDRESS = 0x8915  # SIOCGIFADDR


@dataclass(frozen=True)
class Profile:
    """What a Fast DDS profile says; ``segment_bytes`` is None where no shared memory is used.

    ``lease_s`` is how long the others remember a participant that announces itself no more, which it does every
    ``announcement_s``; None: for ever.
    """

    path: Path | None = None
    problem: str = ""
    segment_bytes: int | None = _DEFAULT_SEGMENT_BYTES
    lease_s: float | None = _DEFAULT_LEASE_S
    announcement_s: float = _DEFAULT_ANNOUNCEMENT_S


@dataclass(frozen=True)
class Transport:
    """How this process's messages travel; ``shm_bytes`` and ``shm_free`` are None without /dev/shm."""

    domain: str
    discovery_range: str
    profile: Profile
    shm_bytes: int | None
    shm_free: int | None
    ipv4: tuple[str, ...]

    @property
    def local(self) -> bool:
        """Whether only this machine is seen."""
        return self.discovery_range in ("LOCALHOST", "OFF")

    @property
    def full(self) -> bool:
        """Whether shared memory has no room for one more process."""
        return self.shm_free is not None and self.shm_free < (self.profile.segment_bytes or 0)

    @property
    def network(self) -> bool:
        """Whether other machines can be reached by IPv4."""
        return any(not address.startswith("127.") for address in self.ipv4)


def read_transport(environment: Mapping[str, str] | None = None) -> Transport:
    """Look at the environment and at the machine, as they are now."""
    environment = os.environ if environment is None else environment
    shm_bytes: int | None = None
    shm_free: int | None = None
    try:
        usage = shutil.disk_usage(SHARED_MEMORY)
        shm_bytes, shm_free = usage.total, usage.free
    except OSError:
        pass  # no Linux
    return Transport(
        domain=environment.get("ROS_DOMAIN_ID") or "0",
        discovery_range=discovery_range(environment),
        profile=read_profile(environment),
        shm_bytes=shm_bytes,
        shm_free=shm_free,
        ipv4=ipv4_addresses(),
    )


def discovery_range(environment: Mapping[str, str]) -> str:
    """Which machines are seen: SUBNET, LOCALHOST, OFF or SYSTEM_DEFAULT; the older ROS_LOCALHOST_ONLY counts first."""
    if environment.get("ROS_LOCALHOST_ONLY") == "1":
        return "LOCALHOST"
    return (environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "SUBNET").upper()


def read_profile(environment: Mapping[str, str]) -> Profile:
    """What the Fast DDS profile of the environment says; what it does not say, or can't, is Fast DDS's own default."""
    name = next((environment[v] for v in PROFILE_VARIABLES if environment.get(v)), "")
    if not name:
        return Profile()
    path = Path(name)
    try:
        # Not somebody's file from the network: the user's own, which Fast DDS parses as well.
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError) as error:
        problem = f"{path} can't be read ({error}), so Fast DDS's defaults hold; correct {PROFILE_VARIABLES[0]}"
        return Profile(path, problem)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    participant = _default_participant(root)
    return Profile(
        path,
        segment_bytes=_segment_bytes(root, participant),
        lease_s=_duration_s(participant, "leaseDuration", _DEFAULT_LEASE_S),
        announcement_s=_duration_s(participant, "leaseAnnouncement", _DEFAULT_ANNOUNCEMENT_S) or 0.0,
    )


def _default_participant(root: ET.Element) -> ET.Element:
    participants = list(root.iter("participant"))
    default = [p for p in participants if p.get("is_default_profile") == "true"]
    return (default or participants or [ET.Element("participant")])[0]


def _segment_bytes(root: ET.Element, participant: ET.Element) -> int | None:
    used = {(e.text or "").strip() for e in participant.iter("transport_id")}
    builtin = (participant.findtext(".//useBuiltinTransports") or "true").strip().lower() in ("true", "1")
    for descriptor in root.iter("transport_descriptor"):
        if (descriptor.findtext("transport_id") or "").strip() not in used:
            continue
        if (descriptor.findtext("type") or "").strip() == "SHM":
            text = (descriptor.findtext("segment_size") or "").strip()
            return int(text) if text.isdigit() else _DEFAULT_SEGMENT_BYTES
    return _DEFAULT_SEGMENT_BYTES if builtin else None


def _duration_s(participant: ET.Element, tag: str, default: float) -> float | None:
    duration = participant.find(f".//{tag}")
    if duration is None:
        return default
    parts = [(duration.findtext(name) or "0").strip() for name in ("sec", "nanosec")]
    if "INFINIT" in "".join([*parts, duration.text or ""]).upper():
        return None
    try:
        return int(parts[0]) + int(parts[1]) * 1e-9
    except ValueError:
        return default


def ipv4_addresses() -> tuple[str, ...]:
    """The machine's IPv4 addresses."""
    try:
        import fcntl

        names = [name for _, name in socket.if_nameindex()]
    except (ImportError, OSError):
        return ("127.0.0.1",)  # another system, where this can't be asked
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for name in names:
            try:
                answer = fcntl.ioctl(probe.fileno(), _GET_ADDRESS, struct.pack("256s", name[:15].encode()))
            except OSError:
                continue  # this interface has none
            found.append(socket.inet_ntoa(answer[20:24]))
    return tuple(found)
