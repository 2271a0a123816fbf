# SPDX-License-Identifier: Apache-2.0
"""What of a bag is played into a live graph, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bag import Bag, BagError

RAW, CONDITIONED, AUTO = "raw", "conditioned", "auto"


@dataclass(frozen=True)
class Played:
    """One message to publish: at which time of the recording (ns), on which topic, its CDR bytes; None: the clock."""

    at_ns: int
    topic: str | None
    data: bytes = b""


def played_topics(bag: Bag, contract: Contract, sensors: str) -> dict[str, str]:
    """Choose what to play: full topic name → type.

    Parameters
    ----------
    bag
        The recording.
    contract
        The robot's.
    sensors
        "raw": what the drivers sent, for camera and joint state nodes; "conditioned": ``observation/*``, for a policy
        and an executor; "auto": raw where the bag has it of every camera.

    Raises
    ------
    BagError
        Something of it was not recorded.
    ValueError
        ``sensors`` is none of the three.
    """
    if sensors not in (RAW, CONDITIONED, AUTO):
        raise ValueError(f"sensors '{sensors}' is unknown; write raw, conditioned or auto")
    raw = [*(camera.topic for camera in contract.cameras), contract.joint_states.topic]
    conditioned = [*(f"observation/{name}" for name in contract.camera_names), "observation/state"]
    if sensors == AUTO:
        sensors = RAW if all(bag.topic(name) for name in raw) else CONDITIONED
    names = raw if sensors == RAW else conditioned
    missing = [name for name in names if bag.topic(name) is None]
    if missing:
        fix = "record with `swiftvla record --raw`, or play sensors: conditioned" if sensors == RAW else "record again"
        raise BagError(f"{bag.folder}: {', '.join(missing)} not recorded; {fix}")
    topics = [topic for name in names if (topic := bag.topic(name)) is not None]
    return {topic: bag.types[topic] for topic in topics}


def schedule(bag: Bag, topics: list[str], clock_period_ns: int) -> Iterator[Played]:
    """Yield messages in the order of reception, and between them the clock, at least every ``clock_period_ns``."""
    clock_ns: int | None = None
    for raw in bag.raw(topics):
        if clock_ns is None:
            clock_ns = raw.received_ns
            yield Played(clock_ns, None)
        while clock_ns + clock_period_ns < raw.received_ns:
            clock_ns += clock_period_ns
            yield Played(clock_ns, None)
        yield Played(raw.received_ns, raw.topic, bytes(raw.data))
