# SPDX-License-Identifier: Apache-2.0
"""Quality of service of every topic, in one place."""

from collections.abc import Sequence
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from swiftvla_ros.episodes.bags.metadata import OfferedQos

# Raw camera input: best effort accepts any driver; only the newest frame is wanted.
CAMERA_INPUT = QoSProfile(depth=1, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
# What cameras and conditioned observations are published with.
IMAGE = QoSProfile(depth=2, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
# Joint states are taken as they come and published so that any subscriber matches.
STATE_INPUT = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
STATE = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
# Chunks and commands must arrive; an old chunk is worth nothing.
CHUNK = QoSProfile(depth=2, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
COMMAND = QoSProfile(depth=10, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
# State-like topics: a late joiner gets the newest.
LATCHED = QoSProfile(
    depth=1,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# The newest limit of each of many monitors, also of those that spoke before.
SPEED_LIMIT = QoSProfile(
    depth=50,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
CLOCK = QoSProfile(depth=1, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
# Every control tick while the arm moves: at 200 Hz a recorder that is held up for a second loses none.
EXECUTOR_STATE = QoSProfile(
    depth=200,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# For a reader that may lose no picture though it is slow: two seconds of a fast camera.
EVERY_IMAGE = QoSProfile(depth=60, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
# For a reader that has to know when instructions change, even if it is busy for a while.
EVERY_POLICY_STATE = QoSProfile(
    depth=50,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# As tf2_ros publishes them.
TF = QoSProfile(depth=100, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
TF_STATIC = QoSProfile(
    depth=100,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


def offered_by(publishers: Sequence[Any]) -> OfferedQos:
    """What all publishers of a topic offer; ``publishers`` are rclpy's descriptions of them, one at least."""
    profiles = [publisher.qos_profile for publisher in publishers]
    return OfferedQos(
        all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in profiles),
        all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in profiles),
        max(1, profiles[0].depth or 10),
    )


def as_offered(offered: OfferedQos, depth: int) -> QoSProfile:
    """A subscriber's profile that takes all that is offered."""
    return QoSProfile(
        depth=depth,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if offered.latched else DurabilityPolicy.VOLATILE,
        reliability=ReliabilityPolicy.RELIABLE if offered.reliable else ReliabilityPolicy.BEST_EFFORT,
    )
