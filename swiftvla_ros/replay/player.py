# SPDX-License-Identifier: Apache-2.0
"""What of a bag is played into a live graph, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from rosbags.typesys.store import Typestore

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError, message_types
from swiftvla_ros.episodes.bags.namespaces import STATE, describe_missing
from swiftvla_ros.episodes.bags.topics import camera_type
from swiftvla_ros.observation.image_decoding import compressed_topic, rgb_of

_IMAGE, _JPEG = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
RAW, CONDITIONED, AUTO = "raw", "conditioned", "auto"


@dataclass(frozen=True)
class Played:
    """One message to publish: at which time of the recording (ns), on which topic, its CDR bytes; None: the clock."""

    at_ns: int
    topic: str | None
    data: bytes = b""


def played_topics(bag: Bag, contract: Contract, sensors: str) -> dict[str, str]:
    """Choose what to play: full name of the stored topic → type as which it is published.

    ``sensors`` is "raw": what the drivers sent, for camera and joint state nodes; "conditioned": ``observation/*``, for
    a policy and an executor; or "auto": raw where the bag has it of every camera, or nothing else.

    Raises
    ------
    BagError
        Something of it was not recorded.
    ValueError
        ``sensors`` is none of the three.
    """
    if sensors not in (RAW, CONDITIONED, AUTO):
        raise ValueError(f"sensors '{sensors}' is unknown; write raw, conditioned or auto")
    raw = {**{camera.topic: camera_type(camera) for camera in contract.cameras}, contract.joint_states.topic: STATE}
    conditioned = {**{f"observation/{name}": _IMAGE for name in contract.camera_names}, "observation/state": STATE}
    if sensors == AUTO:
        seen = any(bag.topic(name) or bag.topic(compressed_topic(name)) for name in conditioned)
        sensors = RAW if all(bag.topic(name) for name in raw) or not seen else CONDITIONED
    found, missing = {}, {}
    kinds = raw if sensors == RAW else conditioned
    for name in kinds:
        topic = bag.topic(name)
        if topic is not None:
            found[topic] = bag.types[topic]
        elif sensors == CONDITIONED and (jpeg := bag.topic(compressed_topic(name))) is not None:
            found[jpeg] = _IMAGE
        else:
            missing[name] = kinds[name]
    if missing:
        fix = (
            "record with `swiftvla record --raw`, play sensors: conditioned, or name the contract of this bag's topics "
            "with --robot"
            if sensors == RAW
            else "record it with `swiftvla record`, or play the drivers' topics: sensors: raw, with a contract that "
            "names them as this bag does"
        )
        raise BagError(f"{bag.path}: {describe_missing(missing, bag.types)} not recorded; {fix}")
    return found


def published_name(topic: str, msgtype: str) -> str:
    """The topic that a stored one is played on: a JPEG is played as the raw image that it was."""
    return topic.removesuffix("/compressed") if msgtype == _IMAGE else topic


def schedule(bag: Bag, topics: dict[str, str], clock_period_ns: int) -> Iterator[Played]:
    """Yield messages in the order of reception, and between them the clock, at least every ``clock_period_ns``.

    ``topics`` is what :func:`played_topics` chose.
    """
    clock_ns: int | None = None
    types = message_types()
    for raw in bag.raw(list(topics)):
        if clock_ns is None:
            clock_ns = raw.received_ns
            yield Played(clock_ns, None)
        while clock_ns + clock_period_ns < raw.received_ns:
            clock_ns += clock_period_ns
            yield Played(clock_ns, None)
        wanted, data = topics[raw.topic], bytes(raw.data)
        if wanted != raw.msgtype:
            data = _as_image(types, data)
        yield Played(raw.received_ns, published_name(raw.topic, wanted), data)


def _as_image(types: Typestore, jpeg: bytes) -> bytes:
    """A serialized CompressedImage as a serialized rgb8 Image; raises BagError where it can't be decoded."""
    message: Any = types.deserialize_cdr(jpeg, _JPEG)
    try:
        rgb = rgb_of(message)
    except ValueError as error:
        raise BagError(f"observation of {message.header.stamp.sec} s: {error}") from error
    kind: Any = types.types[_IMAGE]
    image = kind(
        message.header, rgb.shape[0], rgb.shape[1], "rgb8", 0, 3 * rgb.shape[1], np.ascontiguousarray(rgb).ravel()
    )
    return bytes(types.serialize_cdr(image, _IMAGE))
