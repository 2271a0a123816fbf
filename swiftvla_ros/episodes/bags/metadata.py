# SPDX-License-Identifier: Apache-2.0
"""``metadata.yaml`` of rosbag2, in the version that each ROS distribution writes and reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

# Humble refuses what is newer than its own: from version 9 on, profiles of quality of service are lists, not texts.
METADATA_VERSIONS = {"humble": 5, "jazzy": 9, "kilted": 9}
DEFAULT_ROS = "jazzy"

_FOREVER = {"sec": 9223372036, "nsec": 854775807}
_LARGEST_METADATA = 16 << 20


@dataclass(frozen=True)
class OfferedQos:
    """Quality of service that a topic's publishers offer; ``ros2 bag play`` publishes with it."""

    reliable: bool = True
    latched: bool = False
    depth: int = 10


@dataclass(frozen=True)
class TopicSummary:
    """One topic of the list in ``metadata.yaml``."""

    name: str
    msgtype: str
    digest: str
    qos: OfferedQos | None
    count: int


def qos_entries(qos: OfferedQos | None, version: int) -> list[dict[str, Any]]:
    """Return a profile as rosbag2 of this metadata version spells it."""
    if qos is None:
        return []
    words = {
        "history": ("keep_last", 1),
        "reliability": ("reliable", 1) if qos.reliable else ("best_effort", 2),
        "durability": ("transient_local", 1) if qos.latched else ("volatile", 2),
        "liveliness": ("automatic", 1),
    }
    word = {key: value[0] if version >= 9 else value[1] for key, value in words.items()}
    return [
        {
            "history": word["history"],
            "depth": qos.depth,
            "reliability": word["reliability"],
            "durability": word["durability"],
            "deadline": dict(_FOREVER),
            "lifespan": dict(_FOREVER),
            "liveliness": word["liveliness"],
            "liveliness_lease_duration": dict(_FOREVER),
            "avoid_ros_namespace_conventions": False,
        }
    ]


def qos_text(qos: OfferedQos | None, version: int) -> str:
    """Return the same as the text that MCAP channels, and metadata before version 9, hold."""
    entries = qos_entries(qos, version)
    return yaml.safe_dump(entries, sort_keys=False) if entries else ""


def bag_information(
    file: str,
    topics: Sequence[TopicSummary],
    start_ns: int,
    end_ns: int,
    *,
    version: int,
    ros: str,
    custom_data: dict[str, str],
) -> dict[str, Any]:
    """Return the content of ``metadata.yaml`` for a bag of one MCAP file, without its outer key."""
    count = sum(t.count for t in topics)
    # An empty bag begins nowhere; zero is what all distributions read.
    span = {
        "starting_time": {"nanoseconds_since_epoch": start_ns if count else 0},
        "duration": {"nanoseconds": end_ns - start_ns if count else 0},
        "message_count": count,
    }
    information: dict[str, Any] = {
        "version": version,
        "storage_identifier": "mcap",
        **span,
        "topics_with_message_count": [{"topic_metadata": _topic(t, version), "message_count": t.count} for t in topics],
        # Of rosbag2's own compression of files or messages; that of MCAP chunks is told in the chunks.
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file],
        "files": [{"path": file, **span}],
    }
    # Humble, with version 5, passes over keys that it does not know; other tools read them all the same.
    information["custom_data"] = custom_data
    if version >= 8:
        information["ros_distro"] = ros
    return information


def _topic(topic: TopicSummary, version: int) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": topic.name,
        "type": topic.msgtype,
        "serialization_format": "cdr",
        "offered_qos_profiles": (qos_entries if version >= 9 else qos_text)(topic.qos, version),
    }
    if version >= 7:
        entry["type_description_hash"] = topic.digest
    return entry


def metadata_text(information: dict[str, Any]) -> str:
    """Return the text of ``metadata.yaml``."""

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, _data: Any) -> bool:
            return True

    return yaml.dump({"rosbag2_bagfile_information": information}, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def parse_metadata(text: str) -> dict[str, Any]:
    """Return the content of a ``metadata.yaml`` that anybody wrote.

    Raises
    ------
    ValueError
        It is none; the text says why.
    """
    if len(text) > _LARGEST_METADATA:
        raise ValueError(f"{len(text)} characters are too many")
    try:
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe ones
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"not YAML: {error}") from error
    information = data.get("rosbag2_bagfile_information") if isinstance(data, dict) else None
    if not isinstance(information, dict):
        raise ValueError("holds no rosbag2_bagfile_information")
    return information
