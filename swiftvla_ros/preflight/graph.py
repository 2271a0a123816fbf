# SPDX-License-Identifier: Apache-2.0
"""What is known of a running graph after listening to it, and which topics a contract promises."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from swiftvla_ros.contract import Contract

TopicRole = Literal["camera", "joint states", "observation", "command", "chunks", "state"]


@dataclass(frozen=True)
class ExpectedTopic:
    """A topic of a running system, its full name and type; ``rate_hz`` is 0 where messages come when there is a need.

    ``publisher`` is the full name of the node of this system that publishes it, empty for a driver's. ``source`` is the
    camera's name, for its two topics.
    """

    topic: str
    type: str
    role: TopicRole
    rate_hz: float = 0.0
    source: str = ""
    publisher: str = ""


@dataclass(frozen=True)
class Endpoint:
    """A publisher or subscriber: its node's full name, its type, and that type's hash where ROS tells one."""

    node: str
    type: str
    type_hash: str = ""


@dataclass(frozen=True)
class TopicStream:
    """What came from one publisher; from all of a topic together where the middleware doesn't tell them apart.

    Attributes
    ----------
    node
        Its node's full name; empty where it is not known.
    received, lost
        Messages that came, and those that were published between them and did not come.
    rate_hz
        How often it publishes, by its own times of sending.
    longest_gap_s
        The longest time without one.
    stamp_offsets_s
        Lowest, median and highest of stamp minus arrival on the ROS clock; None without stamps.
    sending_offset_s
        Median of the time of sending, on the clock of the publisher's machine, minus arrival on this one's.
    joints
        The joints that its messages named.
    image_size
        Width and height of its first image; None for what is no raw image.
    image_problem
        Why that image can't be used, such as an encoding without colour; empty where it can be, or is no image.
    positions
        The joints of its newest message, in the driver's unit.
    """

    node: str
    received: int
    lost: int = 0
    rate_hz: float = 0.0
    longest_gap_s: float = 0.0
    stamp_offsets_s: tuple[float, float, float] | None = None
    sending_offset_s: float | None = None
    joints: frozenset[str] = frozenset()
    image_size: tuple[int, int] | None = None
    image_problem: str = ""
    positions: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TopicFacts:
    """One expected topic; ``causes`` of its silence are pairs of what is wrong and what to do."""

    expected: ExpectedTopic
    publishers: tuple[Endpoint, ...] = ()
    subscribers: tuple[Endpoint, ...] = ()
    type_hash: str = ""  # of this installation's type
    streams: tuple[TopicStream, ...] = ()
    causes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Mismatch:
    """A publisher and a subscriber of one topic that never meet, why, and what to do."""

    topic: str
    publisher: str
    subscriber: str
    problem: str
    fix: str


@dataclass(frozen=True)
class NodeFacts:
    """A node: how many have its name, its life cycle's state (empty without one), and some of its parameters."""

    count: int = 1
    state: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ClockFacts:
    """Who publishes /clock, how many times came, and by how much they advanced, s."""

    publishers: tuple[str, ...] = ()
    received: int = 0
    advanced_s: float = 0.0


@dataclass(frozen=True)
class LoadedPolicy:
    """What ``policy_state`` says: why it computes no chunks (empty: it does), and how the newest was computed.

    ``latency_s`` are the stages of the newest chunk; ``checkpoint_sha256`` is empty where nothing is loaded.
    """

    reason: str
    instruction: str = ""
    checkpoint_sha256: str = ""
    device: str = ""
    latency_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class GraphFacts:
    """All that ``seconds`` of listening told; nodes by their full names.

    ``connections`` counts the pairs of publisher and subscriber that meet. ``policy`` is
    None where it says nothing; ``executor`` is None, or its mode and the reason. ``orders`` are pairs of a topic of
    commands and what is wrong with the order in which a controller takes the joints. ``session`` is None, or why no
    episode can begin (empty: it can); ``teleop`` is None, or what the operator's hand does.
    """

    namespace: str
    seconds: float
    nodes: Mapping[str, NodeFacts] = field(default_factory=dict)
    topics: tuple[TopicFacts, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()
    connections: int = 0
    clock: ClockFacts = ClockFacts()
    services: frozenset[str] = frozenset()
    policy: LoadedPolicy | None = None
    executor: tuple[int, str] | None = None
    orders: tuple[tuple[str, str], ...] = ()
    session: str | None = None
    teleop: str | None = None


def full_name(name: str, namespace: str) -> str:
    """Resolve a topic's or node's name: absolute ones stay, others are put into the namespace."""
    inside = namespace.strip("/")
    return name if name.startswith("/") else f"/{inside}/{name}" if inside else f"/{name}"


def own_nodes(contract: Contract, namespace: str, running: Collection[str] = ()) -> tuple[str, ...]:
    """Full names of the nodes that each system of this robot has; of a session of demonstrations, where one runs."""
    policy, session, teleop = (full_name(name, namespace) for name in ("policy", "demonstration", "teleop"))
    motion = ("joint_state", "trajectory_executor")
    if session in running and policy not in running:
        # Others' controllers may move the arm; then none of this package's nodes does.
        led = motion if any(full_name(name, namespace) in running for name in (*motion, "teleop")) else ()
        names: tuple[str, ...] = ("demonstration", *led)
    else:
        names = (*(f"camera_{c}" for c in contract.camera_names), "joint_state", "policy", "trajectory_executor")
    return (*((teleop,) if teleop in running else ()), *(full_name(name, namespace) for name in names))


def expected_topics(contract: Contract, namespace: str) -> list[ExpectedTopic]:
    """List the topics that drivers and nodes of this robot publish."""
    image, joint_state = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"
    states, found = contract.joint_states, []

    def add(publisher: str, topic: str, kind: str, role: TopicRole, rate_hz: float = 0.0, source: str = "") -> None:
        node = publisher and full_name(publisher, namespace)
        found.append(ExpectedTopic(full_name(topic, namespace), kind, role, rate_hz, source, node))

    for camera in contract.cameras:
        kind = image if camera.transport == "raw" else "sensor_msgs/msg/CompressedImage"
        add("", camera.topic, kind, "camera", camera.rate_hz, camera.name)
    add("", states.topic, joint_state, "joint states", states.rate_hz)
    for camera in contract.cameras:
        add(f"camera_{camera.name}", f"observation/{camera.name}", image, "observation", camera.rate_hz, camera.name)
    add("joint_state", "observation/state", joint_state, "observation", states.rate_hz)
    add("policy", "policy_state", "swiftvla_ros/msg/PolicyState", "state")
    add("policy", "action_chunk", "swiftvla_ros/msg/ActionChunk", "chunks")
    add("trajectory_executor", "executor_state", "swiftvla_ros/msg/ExecutorState", "state")
    # Of what runs beside a policy, or in its place, while a person moves the arm.
    add("teleop", "teleop_state", "swiftvla_ros/msg/TeleopState", "state")
    add("teleop", "operator_chunk", "swiftvla_ros/msg/ActionChunk", "chunks")
    add("demonstration", "demonstration_state", "swiftvla_ros/msg/DemonstrationState", "state")
    for topic, kind in contract.command_topics.items():
        add("trajectory_executor", topic, kind, "command")
    return found
