# SPDX-License-Identifier: Apache-2.0
"""Quality of service of every topic, in one place."""

from collections.abc import Sequence
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from swiftvla_ros.episodes.bags.metadata import OfferedQos


def _newest(depth: int, *, reliable: bool = True, latched: bool = False) -> QoSProfile:
    return as_offered(OfferedQos(reliable, latched, depth), depth)


def as_offered(offered: OfferedQos, depth: int) -> QoSProfile:
    """A subscriber's profile that takes all that is offered."""
    return QoSProfile(
        depth=depth,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if offered.latched else DurabilityPolicy.VOLATILE,
        reliability=ReliabilityPolicy.RELIABLE if offered.reliable else ReliabilityPolicy.BEST_EFFORT,
    )


def offered_by(publishers: Sequence[Any]) -> OfferedQos:
    """What all publishers of a topic offer; ``publishers`` are rclpy's descriptions of them, one at least."""
    profiles = [publisher.qos_profile for publisher in publishers]
    return OfferedQos(
        all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in profiles),
        all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in profiles),
        max(1, profiles[0].depth or 10),
    )


# Raw camera input: best effort accepts any driver; only the newest frame is wanted.
CAMERA_INPUT = _newest(1, reliable=False)
# What cameras and conditioned observations are published with.
IMAGE = _newest(2, reliable=False)
# Joint states are taken as they come and published so that any subscriber matches.
STATE_INPUT = _newest(5, reliable=False)
STATE = _newest(5)
# For who looks up a state of the last seconds: those of an arm that tells 250 a second.
KEPT_STATES = _newest(500, reliable=False)
# Chunks and commands must arrive; an old chunk is worth nothing.
CHUNK = _newest(2)
COMMAND = _newest(10)
# State-like topics: a late joiner gets the newest.
LATCHED = _newest(1, latched=True)
# The newest limit of each of many monitors, also of those that spoke before.
SPEED_LIMIT = _newest(50, latched=True)
# What a monitor reads of each chunk, from several topics: none is lost while it is held up for half a second.
MONITORED = _newest(10)
VERDICTS = _newest(10)
# A reader that looks ten times a second loses none of a system's nodes.
DIAGNOSTICS = _newest(50)
CLOCK = _newest(1, reliable=False)
# Up to 200 a second while the arm moves: a recorder that is held up for a second loses none.
EXECUTOR_STATE = _newest(200, latched=True)
# For a reader that may lose no picture though it is slow: two seconds of a fast camera.
EVERY_IMAGE = _newest(60, reliable=False)
# For a reader that has to know when instructions change, even if it is busy for a while.
EVERY_POLICY_STATE = _newest(50, latched=True)
# As tf2_ros publishes them.
TF = _newest(100)
TF_STATIC = _newest(100, latched=True)
