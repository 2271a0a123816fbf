# SPDX-License-Identifier: Apache-2.0
"""The machine as it is now: gathers the facts, and has each of them judged."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from swiftvla_ros.bringup.processes import transport_environment
from swiftvla_ros.contract import Contract
from swiftvla_ros.doctor import installation, machine, network
from swiftvla_ros.doctor.control_rate import look_at_rate
from swiftvla_ros.preflight.machine import check_disk
from swiftvla_ros.preflight.row import Row
from swiftvla_ros.preflight.transport import read_transport


def check_here(contract: Contract, environment: Mapping[str, str], folder: Path) -> tuple[dict[str, list[Row]], bool]:
    """Check the machine for this robot; also return whether a node could be started, with its log in ``folder``."""
    # What bringup sets for its processes counts; what the user set wins there, too.
    transport = read_transport({**environment, **transport_environment(environment)})
    here, refusal = Path.cwd(), machine.try_real_time()
    sections = {
        "installation": installation.check_installation(),
        "machine": [
            machine.check_shared_memory(machine.read_shared_memory(), transport, contract),
            check_disk(contract, here, shutil.disk_usage(here).free, os.access(here, os.W_OK)),
            machine.check_logs(environment),
            machine.check_gpu(),
            machine.check_real_time(refusal),
        ],
    }
    rows = [
        network.check_domain(transport.domain),
        network.check_discovery(environment, transport),
        network.check_profile(environment, transport, contract),
        network.check_addresses(transport),
        network.check_multicast(transport, network.hear_multicast(transport.ipv4)),
    ]
    if importlib.util.find_spec("rclpy") is None:
        missing = Row("ROS", "skipped", "rclpy is not installed: no node runs here", installation.install("ros"))
        return {**sections, "network": [missing, *rows]}, False
    sections["machine"].append(look_at_rate(contract, real_time=not refusal))
    sections["installation"].append(installation.check_messages())
    middleware, problem = network.try_ros(environment, folder)
    version = installation.installed_version("ros-rclpy")
    ros = [network.check_ros(environment.get("ROS_DISTRO", ""), version, problem)]
    if middleware:
        ros.append(network.check_middleware(middleware))
    return {**sections, "network": [*ros, *rows]}, not problem
