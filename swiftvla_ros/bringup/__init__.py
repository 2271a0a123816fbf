# SPDX-License-Identifier: Apache-2.0
"""Which processes make up a running system: one description, read by the launch files and by ``swiftvla up``."""

from swiftvla_ros.bringup.processes import (
    ProcessDescription,
    checkpoint_folder,
    describe,
    describe_geometry,
    describe_loopback_robot,
    describe_recorder,
    describe_replay,
    describe_simulated_robot,
    share_folder,
    transport_environment,
)
from swiftvla_ros.bringup.supervisor import Event, Supervisor

__all__ = [
    "Event",
    "ProcessDescription",
    "Supervisor",
    "checkpoint_folder",
    "describe",
    "describe_geometry",
    "describe_loopback_robot",
    "describe_recorder",
    "describe_replay",
    "describe_simulated_robot",
    "share_folder",
    "transport_environment",
]
