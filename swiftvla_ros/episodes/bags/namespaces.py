# SPDX-License-Identifier: Apache-2.0
"""Whose topics a bag holds: the ROS namespaces in it, and what of one robot's topics is missing.

A topic belongs to a robot by its namespace, never by how its name ends: a bag of two arms holds each name twice.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.bags.topics import camera_type

IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
STATE = "sensor_msgs/msg/JointState"
# What only a robot of this package publishes: each namespace that has one of these is a robot's.
OWN = {
    "executor_state": "swiftvla_ros/msg/ExecutorState",
    "action_chunk": "swiftvla_ros/msg/ActionChunk",
    "policy_state": "swiftvla_ros/msg/PolicyState",
}
_OBSERVATION = "/observation/"
RECORD = "Record it beside a running system with `swiftvla record` (docs/recording.md)"
"""The way on from a bag that lacks this package's topics."""

# More names than these tell nobody anything.
_NEAR, _TOPICS = 3, 8


def shown(namespace: str) -> str:
    """Return a namespace as people write it: the root is ``/``."""
    return namespace or "/"


def find_namespaces(types: Mapping[str, str], contract: Contract | None) -> list[str]:
    """Return the namespaces of the robots whose topics (full name → type) these are, in order; the root is ``""``.

    Where no topic of this package is among them, as in others' bags, the contract's own topics tell: a namespace is a
    robot's that has its joint states, and a camera of it if the contract's cameras are not the same for all robots.
    """
    found = {topic.rpartition("/")[0] for topic, kind in types.items() if OWN.get(topic.rpartition("/")[2]) == kind}
    for topic, kind in types.items():
        before, observed, name = topic.rpartition(_OBSERVATION)
        if observed and "/" not in name.removesuffix("/compressed") and kind in (*IMAGES, STATE):
            found.add(before)
    return sorted(found or (set() if contract is None else _by_contract(types, contract)))


def _by_contract(types: Mapping[str, str], contract: Contract) -> set[str]:
    def before(name: str, kind: str) -> set[str] | None:
        """The namespaces that have this topic; None where all robots share it."""
        if name.startswith("/") and name in types:
            return None
        suffix = "/" + name.strip("/")
        return {topic.removesuffix(suffix) for topic in types if topic.endswith(suffix) and types[topic] == kind}

    cameras = [found for camera in contract.cameras if (found := before(camera.topic, camera_type(camera))) is not None]
    states = before(contract.joint_states.topic, STATE)
    seen = set().union(*cameras)
    if states is None:
        return seen
    return states & seen or states | seen


def as_prefix(namespace: str) -> str:
    """Return a namespace, as people write it, as topics begin with it: ``arm/`` is ``/arm``, the root ``""``."""
    return f"/{namespace.strip('/')}".rstrip("/")


def held_namespace(found: Collection[str], own: str) -> str | None:
    """Return the namespace of a node as the one to read where a bag holds it; None: the bag's only one is taken.

    ``own`` is empty where nobody chose one.
    """
    return own if own and as_prefix(own) in found else None


def choose_namespace(wanted: str | None, found: Collection[str], topics: Iterable[str], where: object) -> str:
    """Return the namespace to read: the one that is wanted, else the only one.

    Parameters
    ----------
    wanted
        As people write it, ``/`` for the root; None: nobody said.
    found
        As :func:`find_namespaces` gives them.
    topics
        Full names of all topics; ``where`` they are is named in a refusal.

    Raises
    ------
    BagError
        There are several and none is wanted, or the one that is wanted is not there.
    """
    names = ", ".join(shown(namespace) for namespace in found)
    if wanted is None:
        if len(found) > 1:
            raise BagError(f"{where}: holds the topics of several namespaces: {names}; name one with --namespace")
        return next(iter(found), "")
    namespace = as_prefix(wanted)
    if namespace in found or (not found and any(topic.startswith(f"{namespace}/") for topic in topics)):
        return namespace
    has = f"it has {names}" if found else "none of its topics begins so"
    raise BagError(f"{where}: holds no namespace {shown(namespace)}; {has}: name one of these with --namespace")


def same_kind(msgtype: str) -> tuple[str, ...]:
    """Return the types that hold the same: a picture is one, raw or compressed."""
    return IMAGES if msgtype in IMAGES else (msgtype,)


def describe_missing(missing: Mapping[str, str], types: Mapping[str, str]) -> str:
    """Name topics that are missing (name → type), and which of those that are there (full name → type) may be meant.

    Only topics of the same kind may be, the likest names first.
    """
    named = "; ".join(f"{name} ({kind}){_similar(name, kind, types)}" for name, kind in missing.items())
    if named and "did you mean" not in named:
        named += f"; it has {', '.join(sorted(types)[:_TOPICS]) or 'no topic'}{', …' if len(types) > _TOPICS else ''}"
    return named


def _similar(name: str, kind: str, types: Mapping[str, str]) -> str:
    words = {word for word in name.replace("_", "/").split("/") if word} - {"observation"}

    def likeness(topic: str) -> tuple[int, float]:
        own = set(topic.replace("_", "/").split("/"))
        return len(words & own), difflib.SequenceMatcher(None, name, topic).ratio()

    near = sorted(
        (topic for topic, its in types.items() if its in same_kind(kind) and topic != name), key=likeness, reverse=True
    )
    if not near:
        return ""
    more = f" or {len(near) - _NEAR} more" if len(near) > _NEAR else ""
    return f", did you mean {', '.join(near[:_NEAR])}{more}?"
