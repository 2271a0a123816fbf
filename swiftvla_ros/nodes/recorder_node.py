# SPDX-License-Identifier: Apache-2.0
"""Records what the policy saw, wanted and did; a process of its own, so that writing never delays a command."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rclpy.subscription import MessageInfo
from sensor_msgs.msg import CompressedImage, Image

from swiftvla_ros.contract import Camera
from swiftvla_ros.episodes.bag import BagWriter, RecordedTopic, film_topic, recorded_topics
from swiftvla_ros.nodes import qos
from swiftvla_ros.nodes.lifecycle import ManagedNode, run
from swiftvla_ros.nodes.messages import ImageMessageError, rgb_image, stamp_ns

# A second of the fastest topic: what may wait while a chunk of the file is written.
_DEPTH = 200
_LOOK_FOR_PUBLISHERS_S = 0.2
_FILM_WIDTH = 320
_FILM_PERIOD_NS = 60_000_000
_SAME_CLOCK_NS = 1_000_000_000


class RecorderNode(ManagedNode):
    """Stores serialized messages as they come; everything runs in the executor's thread."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self.describe("bag", "", "folder of the new bag; must not exist")
        self.describe("film", True, "store small JPEGs of the raw cameras as film/<camera>, for people")
        self._bag: BagWriter | None = None

    def setup(self) -> None:
        """Open the bag."""
        folder = str(self.value("bag"))
        if not folder:
            raise ValueError("parameter bag is empty; write the folder of the new bag")
        self._bag = BagWriter(Path(folder), self.contract)
        self._bag.__enter__()
        self._waiting = recorded_topics(self.contract)
        self._last_frame_ns = dict.fromkeys(self.contract.camera_names, 0)
        if self.value("film"):
            for camera in self.contract.cameras:
                kind = Image if camera.transport == "raw" else CompressedImage
                # Not self.subscribe, which gives no message info.
                self.own(
                    self.create_subscription(kind, camera.topic, self._film_callback(camera), qos.CAMERA_INPUT),
                    self.destroy_subscription,
                )
        self.timer(_LOOK_FOR_PUBLISHERS_S, self._subscribe_to_found)

    def teardown(self) -> None:
        """Close the bag: only then can it be read."""
        if self._bag is not None:
            counts = self._bag.counts()
            self._bag.__exit__(None, None, None)
            self._bag = None
            # rosout is gone when the process was told to end, so this goes to the console.
            print(f"recorded {sum(counts.values())} messages of {len(counts)} topics", flush=True)

    def _subscribe_to_found(self) -> None:
        """Subscribe with the quality of service that the publishers offer: latched topics are latched for us, too."""
        for topic in list(self._waiting):
            publishers = self.get_publishers_info_by_topic(self.resolve_topic_name(topic.name))
            if not publishers:
                continue
            latched = all(p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers)
            reliable = all(p.qos_profile.reliability == ReliabilityPolicy.RELIABLE for p in publishers)
            profile = QoSProfile(
                depth=_DEPTH,
                durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
                reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            )
            package, kind = topic.msgtype.split("/msg/")
            message_class = getattr(importlib.import_module(f"{package}.msg"), kind)
            self.own(
                self.create_subscription(message_class, topic.name, partial(self._store, topic), profile, raw=True),
                self.destroy_subscription,
            )
            self._waiting.remove(topic)

    def _store(self, topic: RecordedTopic, data: bytes) -> None:
        if self.active and self._bag is not None:
            self._bag.write(self.resolve_topic_name(topic.name), topic.msgtype, self.now_ns(), data)

    def _film_callback(self, camera: Camera) -> Callable[[Image | CompressedImage, MessageInfo], None]:
        def callback(message: Image | CompressedImage, info: MessageInfo) -> None:
            if self.active:
                self._film(camera, message, info["source_timestamp"])

        # rclpy counts the arguments of the callback; a partial would hide them.
        return callback

    def _film(self, camera: Camera, message: Image | CompressedImage, published_ns: int) -> None:
        ns = stamp_ns(message.header.stamp)
        if self._bag is None or abs(ns - self._last_frame_ns[camera.name]) < _FILM_PERIOD_NS:
            return
        self._last_frame_ns[camera.name] = ns
        try:
            image = rgb_image(message)
        except ImageMessageError:
            return  # the camera node says so; a film is not worth a second complaint
        height = round(_FILM_WIDTH * image.shape[0] / image.shape[1])
        small = cv2.resize(image, (_FILM_WIDTH, height), interpolation=cv2.INTER_AREA)
        _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
        frame = CompressedImage(header=message.header, format="jpeg")
        frame.data = jpeg.tobytes()
        name = self.resolve_topic_name(film_topic(camera.name))
        now_ns = self.now_ns()
        # The driver's own time of publishing, where it is on this clock, tells its share of the latency from ours.
        at_ns = published_ns if 0 <= now_ns - published_ns < _SAME_CLOCK_NS else now_ns
        self._bag.write(name, "sensor_msgs/msg/CompressedImage", at_ns, serialize_message(frame))


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM."""
    sys.exit(run(RecorderNode, args))


if __name__ == "__main__":
    main()
