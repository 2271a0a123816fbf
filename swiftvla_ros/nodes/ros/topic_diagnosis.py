# SPDX-License-Identifier: Apache-2.0
"""Why nothing arrives on a topic: who publishes on it, with which type and QoS, and what usually is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

from swiftvla_ros.preflight.transport import SHARED_MEMORY, Transport, read_transport

# A topic whose name is so much like the expected one may be meant.
_ALIKE = 0.75
_MOST_SUGGESTED = 3
_RATHER_ENDLESS_S = 1e9
# What a contract calls the types of images.
_TRANSPORTS = {"sensor_msgs/msg/Image": "raw", "sensor_msgs/msg/CompressedImage": "compressed"}
# Messages below this size fit Fast DDS's smallest segment many times over, and into one UDP datagram.
_SMALL_BYTES = 60_000
# Driver, two cameras and the policy: what exchanges images.
_PROCESSES = 4


@dataclass(frozen=True)
class Publisher:
    """One publisher as the graph knows it: the node's full name, its type, and what it offers.

    Deadline and lease are in s, infinite where the publisher promises none.
    """

    node: str
    type: str
    reliable: bool = True
    latched: bool = False
    deadline_s: float = float("inf")
    manual_liveliness: bool = False
    lease_s: float = float("inf")

    @property
    def qos(self) -> str:
        """What it offers, in words."""
        return f"{_reliability(self.reliable)}, {_durability(self.latched)}"


@dataclass(frozen=True)
class Expected:
    """What a node waits for; ``message_bytes`` is about how large a message is, 0 where nobody knows."""

    topic: str
    type: str
    reliable: bool = False
    latched: bool = False
    deadline_s: float = float("inf")
    manual_liveliness: bool = False
    lease_s: float = float("inf")
    message_bytes: int = 0


@dataclass(frozen=True)
class Cause:
    """Something that keeps messages away, and what to do about it.

    ``code`` is one of ``no_publisher``, ``other_type``, ``qos``, ``shared_memory``, ``ipv4``, ``sender``.
    """

    code: str
    text: str
    fix: str

    def __str__(self) -> str:
        return f"{self.text}: {self.fix}"


@dataclass(frozen=True)
class TopicDiagnosis:
    """Who publishes on a topic, and every cause that was found, the likeliest first; never empty."""

    expected: Expected
    publishers: tuple[Publisher, ...]
    causes: tuple[Cause, ...]

    @property
    def text(self) -> str:
        """All of it as one line."""
        return "; ".join(map(str, self.causes))


def diagnose_topic(node: Node, topic: str, kind: type, profile: QoSProfile, message_bytes: int = 0) -> TopicDiagnosis:
    """Explain the silence of a topic that ``node`` subscribes to, from what the graph tells now."""
    name = node.resolve_topic_name(topic)
    others = {
        other: [_publisher_of(info) for info in node.get_publishers_info_by_topic(other)]
        for other, _types in node.get_topic_names_and_types()
        if other != name
    }
    return diagnose(
        expected_of(name, kind, profile, message_bytes),
        [_publisher_of(info) for info in node.get_publishers_info_by_topic(name)],
        {other: publishers for other, publishers in others.items() if publishers},
        read_transport(),
    )


def expected_of(topic: str, kind: type, profile: QoSProfile, message_bytes: int = 0) -> Expected:
    """What a subscription with this profile expects."""
    package, _, _ = kind.__module__.partition(".")
    return Expected(topic, f"{package}/msg/{kind.__name__}", **_qos_of(profile), message_bytes=message_bytes)


def diagnose(
    expected: Expected,
    publishers: Sequence[Publisher],
    others: Mapping[str, Sequence[Publisher]],
    transport: Transport,
) -> TopicDiagnosis:
    """Say why ``expected`` is silent; ``others`` are the publishers of all other topics."""
    same_type = [p for p in publishers if p.type == expected.type]
    matching = [p for p in same_type if not qos_problems(p, expected)]
    causes = []
    if not publishers:
        causes.append(_no_publisher(expected, others, transport))
    elif not same_type:
        causes.append(_other_type(expected, publishers, others))
    elif not matching:
        causes += [
            Cause("qos", f"{p.node} publishes on {expected.topic} with another QoS", problem)
            for p in same_type
            for problem in qos_problems(p, expected)
        ]
    else:
        causes += _lost(expected, matching, transport)
    return TopicDiagnosis(expected, tuple(publishers), tuple(causes))


def qos_problems(offered: Publisher, expected: Expected) -> list[str]:
    """What a publisher promises less than the subscription asks for (DDS: request versus offered), and the fix."""
    problems = []
    if expected.reliable and not offered.reliable:
        problems.append("it offers best effort and reliable is asked for; let the driver publish reliably")
    if expected.latched and not offered.latched:
        problems.append("it offers volatile and transient local is asked for; let the driver publish transient local")
    if offered.deadline_s > expected.deadline_s:
        problems.append(
            f"its deadline is {_seconds(offered.deadline_s)} and {_seconds(expected.deadline_s)} is asked for; "
            "let the driver promise this one"
        )
    if expected.manual_liveliness and not offered.manual_liveliness:
        problems.append("it offers automatic liveliness and manual by topic is asked for; let the driver assert it")
    if offered.lease_s > expected.lease_s:
        problems.append(
            f"its liveliness lease is {_seconds(offered.lease_s)} and {_seconds(expected.lease_s)} is asked for; "
            "let the driver promise this one"
        )
    return problems


def small_shared_memory(transport: Transport) -> Cause | None:
    """What is wrong where /dev/shm holds fewer segments than a system has processes, or has no room for one more."""
    segment, whole, free = transport.profile.segment_bytes, transport.shm_bytes, transport.shm_free
    if not segment or whole is None or free is None or (whole >= _PROCESSES * segment and free >= segment):
        return None
    text = f"{SHARED_MEMORY} has {_size(whole)} ({_size(free)} free) and each process takes {_size(segment)} of it"
    fix = "give it more (docker run --shm-size 1g, or --ipc host) and remove what is left over (fastdds shm clean)"
    return Cause("shared_memory", text, fix)


def alike(expected: Expected, others: Mapping[str, Sequence[Publisher]]) -> list[str]:
    """Topics of the expected type that may be meant, the likeliest first."""

    def likeness(name: str) -> float:
        mine, its = expected.topic.strip("/").split("/"), name.strip("/").split("/")
        # image_raw and image_raw/compressed; the same name in a namespace more or less
        if mine[: len(its)] == its or its[: len(mine)] == mine or mine[-len(its) :] == its or its[-len(mine) :] == mine:
            return 1.0
        return difflib.SequenceMatcher(None, expected.topic, name).ratio()

    typed = [name for name, publishers in others.items() if any(p.type == expected.type for p in publishers)]
    ranked = sorted((-likeness(name), name) for name in typed)
    return [name for negative, name in ranked if -negative >= _ALIKE][:_MOST_SUGGESTED]


def _no_publisher(expected: Expected, others: Mapping[str, Sequence[Publisher]], transport: Transport) -> Cause:
    text = f"nobody publishes on {expected.topic}"
    if found := _other_transport(expected, others):
        where = ", ".join(f"{name} (from {_names(others[name])})" for name in found)
        kind = others[found[0]][0].type
        fix = f"{kind} comes on {where}; write that topic and `transport: {_TRANSPORTS[kind]}` in the contract"
        return Cause("no_publisher", text, fix)
    if found := alike(expected, others):
        where = ", ".join(f"{name} (from {_names(others[name])})" for name in found)
        return Cause("no_publisher", text, f"{expected.type} comes on {where}; write that topic, or start the driver")
    seen = "only this machine is seen" if transport.local else "machines of this subnet are seen"
    fix = (
        f"start the driver, or correct the topic; here ROS_DOMAIN_ID is {transport.domain} and {seen} "
        f"({_range_variable(transport)}), and the driver's must agree"
    )
    if not transport.local and not transport.network:
        fix += "; this machine has no IPv4 address but its own, so no other machine is reached"
    return Cause("no_publisher", text, fix)


def _other_type(
    expected: Expected, publishers: Sequence[Publisher], others: Mapping[str, Sequence[Publisher]]
) -> Cause:
    types = ", ".join(sorted({p.type for p in publishers}))
    found = alike(expected, others)
    fix = f"that one comes on {', '.join(found)}; write that topic" if found else _type_fix(expected.type, types)
    text = f"{_names(publishers)} publishes {types} on {expected.topic}, and {expected.type} is expected"
    return Cause("other_type", text, fix)


def _other_transport(expected: Expected, others: Mapping[str, Sequence[Publisher]]) -> list[str]:
    """Topics of the same camera in the other transport: image_transport hangs its name on that of the raw images."""
    if expected.type not in _TRANSPORTS:
        return []
    return sorted(
        name
        for name, publishers in others.items()
        if publishers
        and all(p.type in _TRANSPORTS and p.type != expected.type for p in publishers)
        and (name.startswith(f"{expected.topic}/") or expected.topic.startswith(f"{name}/"))
    )


def _type_fix(expected: str, types: str) -> str:
    if expected in _TRANSPORTS and types in _TRANSPORTS:
        return f"write `transport: {_TRANSPORTS[types]}` for this camera in the contract"
    return "correct the topic or the driver; two types on one topic never meet"


def _lost(expected: Expected, publishers: Sequence[Publisher], transport: Transport) -> list[Cause]:
    profile, causes = transport.profile, []
    large, segment = expected.message_bytes > _SMALL_BYTES, profile.segment_bytes
    if profile.problem:
        causes.append(Cause("shared_memory", "the Fast DDS profile of this process is not in force", profile.problem))
    if large and segment is not None and expected.message_bytes > segment // 2:
        text = f"a message of {_size(expected.message_bytes)} hardly fits a shared-memory segment of {_size(segment)}"
        fix = "set FASTDDS_DEFAULT_PROFILES_FILE to config/fastdds_shm.xml for this process and for the driver"
        causes.append(Cause("shared_memory", text, fix))
    if large and (cause := small_shared_memory(transport)):
        causes.append(cause)
    if not transport.ipv4:
        text = "this machine has no IPv4 address, and the DDS transports speak IPv4"
        causes.append(Cause("ipv4", text, "give an interface one (`ip addr`), were it lo with 127.0.0.1"))
    text = (
        f"{_names(publishers)} publishes {expected.type} ({publishers[0].qos}) on {expected.topic}, but nothing arrives"
    )
    fix = "look whether it sends at all (`ros2 topic hz`), or stood still and has to be started again"
    if large:
        fix += "; give it the profile config/fastdds_shm.xml, too: large messages get lost without"
    return [*causes, Cause("sender", text, fix)]


def _publisher_of(info: Any) -> Publisher:
    namespace, name = info.node_namespace.rstrip("/"), info.node_name
    # A DDS program without ROS has no node.
    full = "a program without a ROS node" if name.startswith("_NODE_NAME_UNKNOWN") else f"{namespace}/{name}"
    return Publisher(full, info.topic_type, **_qos_of(info.qos_profile))


def _qos_of(profile: QoSProfile) -> dict[str, Any]:
    return {
        # A subscription's "system default" is the least that can be asked for, a publisher's is reliable.
        "reliable": profile.reliability == ReliabilityPolicy.RELIABLE,
        "latched": profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
        "deadline_s": _span_s(profile.deadline),
        "manual_liveliness": profile.liveliness == LivelinessPolicy.MANUAL_BY_TOPIC,
        "lease_s": _span_s(profile.liveliness_lease_duration),
    }


def _span_s(duration: Any) -> float:
    # Not set is 0, endless is the largest number that there is.
    seconds = duration.nanoseconds / 1e9
    return float("inf") if seconds == 0 or seconds > _RATHER_ENDLESS_S else seconds


def _range_variable(transport: Transport) -> str:
    return f"ROS_AUTOMATIC_DISCOVERY_RANGE is {transport.discovery_range}"


def _names(publishers: Sequence[Publisher]) -> str:
    return ", ".join(sorted({p.node for p in publishers}))


def _reliability(reliable: bool) -> str:
    return "reliable" if reliable else "best effort"


def _durability(latched: bool) -> str:
    return "transient local" if latched else "volatile"


def _seconds(seconds: float) -> str:
    return "none" if seconds == float("inf") else f"{seconds:g} s"


def _size(number: int) -> str:
    return f"{number / 2**20:.3g} MiB"
