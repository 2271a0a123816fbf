# SPDX-License-Identifier: Apache-2.0
"""What decides who is seen: distribution, middleware, domain, discovery range, Fast DDS profile, IPv4, multicast."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from swiftvla_ros.contract import Contract
from swiftvla_ros.preflight.row import Row, size
from swiftvla_ros.preflight.transport import PROFILE_VARIABLES, Transport

_DISTRIBUTIONS = ("humble", "jazzy", "kilted")
_RANGES = ("SUBNET", "LOCALHOST", "SYSTEM_DEFAULT")
_FAST_DDS = "rmw_fastrtps"
_JOIN = (
    "import rclpy; rclpy.init(); rclpy.create_node('swiftvla_doctor'); print(rclpy.get_rmw_implementation_identifier())"
)
_JOIN_S = 60.0
# What a log line and an exception begin with.
_PREFIX = re.compile(r"^(\S*Error: |(\[[^]]*\]\s*)+:\s*)")
# Ports are 7400 + 250 · domain and more: beyond they are Linux' ephemeral ones, or no ports at all.
_LAST_SAFE_DOMAIN, _LAST_DOMAIN = 101, 232
# Of DDS discovery, on a port that is nobody's.
_GROUP = "239.255.0.1"
_PATIENCE_S = 0.3


def check_ros(distribution: str, rclpy: str | None, problem: str) -> Row:
    """Name the ROS distribution; ``rclpy`` is the version of the wheel, ``problem`` why no graph can be joined."""
    where = distribution or ("Kilted from wheels" if rclpy else "no ROS_DISTRO")
    version = f", rclpy {rclpy}" if rclpy else ""
    if problem:
        fix = "correct the variables below (unset RMW_IMPLEMENTATION where it names none that is installed)"
        return Row("ROS", "fail", f"{where}{version}: no node starts: {problem}", fix)
    if distribution and distribution not in _DISTRIBUTIONS:
        finding = f"{distribution}, which this package was not tried on"
        return Row("ROS", "warning", finding, f"use one of {', '.join(_DISTRIBUTIONS)}")
    return Row("ROS", "ok", f"{where}{version}")


def try_ros(environment: Mapping[str, str], folder: Path) -> tuple[str, str]:
    """Join the graph from a process of its own: a wrong variable may end it. Return the middleware, or the problem.

    ``folder`` takes its log, for where it would otherwise go may be what is wrong.
    """
    command, variables = [sys.executable, "-c", _JOIN], {**environment, "ROS_LOG_DIR": str(folder)}
    try:
        process = subprocess.run(
            command, env=variables, capture_output=True, text=True, timeout=_JOIN_S, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return "", f"a node did not start within {_JOIN_S:.0f} s"
    lines = process.stdout.split()
    if process.returncode == 0 and lines:
        return lines[-1], ""
    last = next((line for line in reversed(process.stderr.splitlines()) if line.strip()), "it ended without a word")
    return "", _PREFIX.sub("", last).partition(", at /")[0]


def check_middleware(implementation: str) -> Row:
    """Name the middleware; this package's profiles are Fast DDS's."""
    if implementation.startswith(_FAST_DDS):
        return Row("middleware", "ok", implementation)
    return Row(
        "middleware",
        "warning",
        f"{implementation}: config/fastdds_shm.xml does nothing for it",
        "unset RMW_IMPLEMENTATION, or give this one room for large messages (shared memory, or net.core.rmem_max)",
    )


def check_domain(domain: str) -> Row:
    """Whether ROS_DOMAIN_ID is one whose ports are free."""
    name = "domain"
    if not domain.isdecimal() or int(domain) > _LAST_DOMAIN:
        return Row(name, "fail", f"ROS_DOMAIN_ID is '{domain}'", f"write a number from 0 to {_LAST_SAFE_DOMAIN}")
    if int(domain) > _LAST_SAFE_DOMAIN:
        finding = f"ROS_DOMAIN_ID is {domain}: its ports are Linux' ephemeral ones, which others may have taken"
        return Row(name, "warning", finding, f"write a number from 0 to {_LAST_SAFE_DOMAIN}")
    return Row(name, "ok", f"ROS_DOMAIN_ID {domain}")


def check_discovery(environment: Mapping[str, str], transport: Transport) -> Row:
    """Which machines are seen, and whether the variables say one thing."""
    name, variable, seen = "discovery", "ROS_AUTOMATIC_DISCOVERY_RANGE", transport.discovery_range
    if seen == "OFF":
        return Row(name, "fail", f"{variable} is OFF: nodes find nobody", f"unset it, or write {' or '.join(_RANGES)}")
    if seen not in _RANGES:
        return Row(
            name,
            "fail",
            f"{variable} is '{seen}', which no ROS knows: it takes LOCALHOST",
            f"write {' or '.join(_RANGES)}",
        )
    if environment.get("ROS_LOCALHOST_ONLY") == "1" and environment.get(variable, "LOCALHOST").upper() != "LOCALHOST":
        finding = f"ROS_LOCALHOST_ONLY=1 overrules {variable}={environment[variable]}"
        return Row(name, "warning", finding, "unset ROS_LOCALHOST_ONLY")
    peers = environment.get("ROS_STATIC_PEERS", "")
    text = "only this machine is seen" if transport.local else "all machines of the subnet are seen"
    return Row(name, "ok", f"{seen}: {text}" + (f", and {peers}" if peers else ""))


def check_profile(environment: Mapping[str, str], transport: Transport, contract: Contract) -> Row:
    """Whether an image fits the shared-memory segment that the profile gives each process."""
    name, profile = "Fast DDS profile", transport.profile
    ours = "config/fastdds_shm.xml"
    unset = f"unset {PROFILE_VARIABLES[0]}, so that swiftvla up sets {ours}"
    if profile.problem:
        return Row(name, "fail", profile.problem, unset)
    largest = max(3 * c.source_size[0] * c.source_size[1] for c in contract.cameras)
    if profile.segment_bytes is None:
        finding = f"{profile.path} uses no shared memory: images of {size(largest)} go by UDP, where some get lost"
        return Row(name, "warning", finding, unset)
    if profile.segment_bytes < 2 * largest:
        finding = f"{profile.path}: a segment of {size(profile.segment_bytes)} loses images of {size(largest)}"
        return Row(name, "fail", finding, f"{unset}, or raise segment_size to {size(8 * largest)}")
    if any(environment.get(variable) for variable in PROFILE_VARIABLES):
        return Row(name, "ok", f"{profile.path}: segments of {size(profile.segment_bytes)}")
    return Row(name, "ok", f"{ours}, set by swiftvla up and the launch files; drivers started elsewhere need it, too")


def check_addresses(transport: Transport) -> Row:
    """Whether an interface has an IPv4 address, which DDS speaks."""
    name = "IPv4"
    if not transport.ipv4:
        finding = "no interface has an IPv4 address, and the DDS transports speak IPv4"
        return Row(name, "fail", finding, "ip link set lo up; ip addr add 127.0.0.1/8 dev lo")
    if not transport.local and not transport.network:
        finding = "only 127.0.0.1: no other machine is reached"
        return Row(name, "warning", finding, "connect a network, or export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST")
    return Row(name, "ok", ", ".join(transport.ipv4))


def check_multicast(transport: Transport, heard: Collection[str]) -> Row:
    """Whether the interfaces that discovery uses carry multicast back; ``heard`` are the addresses that do."""
    name = "multicast"
    if not transport.ipv4:
        return Row(name, "skipped", "no IPv4")
    needed = [a for a in transport.ipv4 if transport.local or not a.startswith("127.")] or list(transport.ipv4)
    if any(address in heard for address in needed):
        return Row(name, "ok", f"comes back on {', '.join(a for a in needed if a in heard)}")
    finding = f"does not come back on {', '.join(needed)}: nodes may not find each other"
    return Row(
        name,
        "warning",
        finding,
        "ip link set dev DEVICE multicast on, let the firewall pass 239.255.0.0/16, or name "
        "the machines in ROS_STATIC_PEERS",
    )


def hear_multicast(addresses: Collection[str]) -> list[str]:
    """Return the addresses on which a datagram to DDS's group comes back."""
    return [address for address in addresses if _comes_back(address)]


def _comes_back(address: str) -> bool:
    token = os.urandom(16)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.settimeout(_PATIENCE_S)
        try:
            receiver.bind(("", 0))
            own = socket.inet_aton(address)
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(_GROUP) + own)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
            sender.sendto(token, (_GROUP, receiver.getsockname()[1]))
            return receiver.recv(64) == token
        except OSError:
            return False
