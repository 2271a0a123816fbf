# SPDX-License-Identifier: Apache-2.0
"""What is played into a live graph: every message once, in order, with a clock that never stands for long."""

from pathlib import Path

import numpy as np
import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError, message_types
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.observation.image_decoding import compressed_topic, jpeg_of, rgb_of
from swiftvla_ros.replay.player import played_topics, published_name, schedule

PERIOD_NS = 5_000_000


def test_every_message_is_played_once_and_the_clock_runs(stored: Path, contract: Contract) -> None:
    """Protects nodes on simulated time: messages as recorded, and between them a clock without gaps."""
    bag = Bag(stored)
    topics = played_topics(bag, contract, "auto")
    assert set(topics) == {"/observation/front", "/observation/wrist", "/observation/state"}
    played = list(schedule(bag, topics, PERIOD_NS))
    messages = [(item.at_ns, item.topic, item.data) for item in played if item.topic is not None]
    assert messages == [(raw.received_ns, raw.topic, bytes(raw.data)) for raw in bag.raw(list(topics))]
    times = np.array([item.at_ns for item in played])
    assert (np.diff(times) >= 0).all()
    clock = np.array([item.at_ns for item in played if item.topic is None])
    assert np.diff(clock).max() <= PERIOD_NS


def test_jpegs_are_played_as_pictures(stored: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects bags of the option images: jpeg: a policy node reads raw images only, so that is what it gets."""
    bag, types = Bag(stored), message_types()
    kind = types.types["sensor_msgs/msg/CompressedImage"]
    with BagWriter(tmp_path / "bag", contract) as writer:
        for received, message in bag.messages("observation/state"):
            writer.write_message("/observation/state", message, received)
        for camera in contract.camera_names:
            for received, message in bag.messages(f"observation/{camera}"):
                jpeg = np.frombuffer(jpeg_of(rgb_of(message), 95), np.uint8)
                topic = f"/{compressed_topic(f'observation/{camera}')}"
                writer.write_message(topic, kind(message.header, "jpeg", jpeg), received)
    jpegs = Bag(tmp_path / "bag")
    topics = played_topics(jpegs, contract, "conditioned")
    names = {published_name(topic, msgtype) for topic, msgtype in topics.items()}
    assert names == {"/observation/front", "/observation/wrist", "/observation/state"}
    data = next(item.data for item in schedule(jpegs, topics, PERIOD_NS) if item.topic == "/observation/front")
    image = types.deserialize_cdr(data, "sensor_msgs/msg/Image")
    _, original = next(bag.messages("observation/front"))
    assert image.header == original.header
    assert np.abs(rgb_of(image).astype(int) - rgb_of(original).astype(int)).mean() < 4


def test_what_was_not_recorded_is_named(stored: Path, contract: Contract) -> None:
    """Protects the operator: asked for the drivers' topics of a bag without them, it says which and what to do."""
    with pytest.raises(BagError, match=r"/camera/front/image_raw.*--raw"):
        played_topics(Bag(stored), contract, "raw")
    with pytest.raises(ValueError, match="raw, conditioned or auto"):
        played_topics(Bag(stored), contract, "some")
