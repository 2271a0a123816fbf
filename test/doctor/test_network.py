# SPDX-License-Identifier: Apache-2.0
"""What keeps nodes from seeing each other is told with the fix."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from swiftvla_ros.contract import load_contract
from swiftvla_ros.doctor.network import (
    check_addresses,
    check_discovery,
    check_domain,
    check_middleware,
    check_multicast,
    check_profile,
    check_ros,
    try_ros,
)
from swiftvla_ros.preflight.row import KB, MB
from swiftvla_ros.preflight.transport import PROFILE_VARIABLES, Profile, Transport

CONTRACT = load_contract("so101_sim")
TRANSPORT = Transport("0", "SUBNET", Profile(segment_bytes=32 * MB), 0, 0, ("127.0.0.1", "10.0.0.2"))


@pytest.mark.parametrize(("domain", "status"), [("0", "ok"), ("101", "ok"), ("150", "warning"), ("x", "fail")])
def test_domains(domain, status):
    """Protects: a number whose ports are taken by others, or that is none, is named."""
    assert check_domain(domain).status == status


@pytest.mark.parametrize(
    ("variables", "seen", "status"),
    [
        ({}, "SUBNET", "ok"),
        ({}, "LOCALHOST", "ok"),
        ({}, "OFF", "fail"),
        ({}, "LOCAL", "fail"),
        ({"ROS_LOCALHOST_ONLY": "1", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, "LOCALHOST", "warning"),
    ],
)
def test_discovery_ranges(variables, seen, status):
    """Protects: variables that contradict each other, or that ROS takes for something else, are named."""
    assert check_discovery(variables, replace(TRANSPORT, discovery_range=seen)).status == status


@pytest.mark.parametrize(
    ("profile", "status"),
    [
        (Profile(segment_bytes=32 * MB), "ok"),
        (Profile(segment_bytes=512 * KB), "fail"),
        (Profile(segment_bytes=None), "warning"),
        (Profile(problem="/x.xml can't be read"), "fail"),
    ],
)
def test_a_profile_is_judged_by_the_contract_s_images(profile, status):
    """Fast DDS's own 512 kB lose most 640×480 pictures without a word (report F10)."""
    camera = CONTRACT.cameras[0].model_copy(update={"source_size": (640, 480)})
    environment = {PROFILE_VARIABLES[0]: "/x.xml"}
    found = check_profile(environment, replace(TRANSPORT, profile=profile), CONTRACT.with_keys(cameras=(camera,)))
    assert found.status == status


def test_addresses_and_multicast():
    """Protects: no IPv4 is a fault, one of this machine alone is one only where others are looked for."""
    assert check_addresses(replace(TRANSPORT, ipv4=())).status == "fail"
    alone = replace(TRANSPORT, ipv4=("127.0.0.1",))
    assert check_addresses(alone).status == "warning"
    assert check_addresses(replace(alone, discovery_range="LOCALHOST")).status == "ok"
    assert check_multicast(TRANSPORT, ["127.0.0.1"]).status == "warning"
    assert check_multicast(TRANSPORT, ["10.0.0.2"]).status == "ok"


def test_distribution_and_middleware():
    """Protects: what this package was not tried on is said, and is no fault."""
    assert check_ros("humble", None, "").status == "ok"
    assert check_ros("", "9.1.2", "").status == "ok"
    assert check_ros("foxy", None, "").status == "warning"
    assert check_middleware("rmw_cyclonedds_cpp").status == "warning"


def test_variables_that_end_every_node_end_only_the_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Protects: a middleware that is not installed ends a process that joins the graph, and must not end the doctor."""
    monkeypatch.setattr(sys, "executable", "/bin/sh")
    monkeypatch.setattr(
        "swiftvla_ros.doctor.network._JOIN", "echo '[ERROR] [1.2] [rcl]: no such thing, at /a.c:1' >&2; exit 102"
    )
    middleware, problem = try_ros({}, tmp_path)
    assert (middleware, problem) == ("", "no such thing")
    assert check_ros("", "9.1.2", problem).status == "fail"
