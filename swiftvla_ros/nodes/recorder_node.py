# SPDX-License-Identifier: Apache-2.0
"""Records what the policy saw, wanted and did, into a bag, a black box or both; a process of its own.

The node's thread only takes serialized messages; a thread of ``Recording`` writes
them, so that neither a command nor the middleware ever waits for the disk.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import MessageInfo
from std_srvs.srv import Trigger as TriggerService

from swiftvla_ros.episodes.bags.bag import BagWriter, film_topic
from swiftvla_ros.episodes.bags.metadata import OfferedQos
from swiftvla_ros.episodes.bags.topics import RecordedTopic, camera_type, recorded_topics
from swiftvla_ros.episodes.recording.black_box import Pending, Ring, Trigger
from swiftvla_ros.episodes.recording.black_box_keeper import BlackBoxKeeper
from swiftvla_ros.episodes.recording.recording import (
    IMAGE,
    Conversion,
    Message,
    Recording,
    SequenceWatch,
    film_conversion,
    jpeg_conversion,
)
from swiftvla_ros.msg import PolicyState
from swiftvla_ros.nodes.parts.recorder_parameters import ParameterCollector
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.diagnostics import Health, Level, publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, run
from swiftvla_ros.observation.message_fields import header_stamp_ns
from swiftvla_ros.policy.checkpoint_fingerprint import write_fingerprint

# What may wait in the middleware while this process does not run: seconds of the fastest topic, two of a camera.
_DEPTH = 400
_IMAGE_DEPTH = 60
_LOOK_FOR_PUBLISHERS_S = 0.2
_LOOK_AROUND_S = 1.0
_FILM_PERIOD_NS = 60_000_000
_SAME_CLOCK_NS = 1_000_000_000
_MB = 1 << 20


class RecorderNode(ManagedNode):
    """Takes every recorded topic with the quality of service of its publishers."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self.describe("bag", "", "folder of the new bag; must not exist. Empty: only a black box")
        self.describe("film", True, "store small JPEGs of the raw cameras as film/<camera>, for people")
        self.describe("raw", False, "record the cameras' own topics, too")
        self.describe("images", "raw", "raw: what the policy saw, bit for bit; jpeg: a tenth of the space")
        self.describe("jpeg_quality", 92, "1 to 100, with images: jpeg")
        self.describe("compression", "", "of the file's chunks: zstd, lz4, or nothing")
        self.describe("ros", "jazzy", "distribution whose rosbag2 is to read the bag: humble, jazzy or kilted")
        self.describe("queue_mb", 256, "what may wait to be written, MB; what comes beyond it is counted as lost")
        self.describe("min_free_mb", 500, "space that stays free on the disk, MB; the recording ends before it is used")
        self.describe("checkpoint", "", "the policy's folder, to be named and fingerprinted in the bag")
        self.describe("black_box", "", "folder in which the last seconds are written on fault, stop or ~/save")
        self.describe("black_box_s", 30.0, "seconds that the black box remembers")
        self.describe("black_box_after_s", 2.0, "seconds after a fault that it still waits for")
        self.describe("black_box_mb", 256, "memory that it may use, MB")
        self.describe("black_box_most", 50, "boxes that may lie in the folder; none is ever deleted")
        self._recording: Recording | None = None
        self._box: BlackBoxKeeper | None = None
        self._collector: ParameterCollector | None = None

    def setup(self) -> None:
        """Open the bag, and look for what there is to record."""
        folder, box = str(self.value("bag")), str(self.value("black_box"))
        if not folder and not box:
            raise ValueError("parameters bag and black_box are both empty; write a folder for one of them")
        for name, allowed in (("images", ("raw", "jpeg")), ("compression", ("", "zstd", "lz4"))):
            if self.value(name) not in allowed:
                raise ValueError(f"parameter {name} is '{self.value(name)}'; write one of {allowed}")
        for name, least in {"queue_mb": 1, "min_free_mb": 0, "black_box_s": 0.1, "black_box_mb": 1}.items():
            if not float(self.value(name)) >= least:
                raise ValueError(f"parameter {name} is {self.value(name)}; write {least} or more")
        if not 1 <= self.value("jpeg_quality") <= 100:
            raise ValueError(f"parameter jpeg_quality is {self.value('jpeg_quality')}; write 1 to 100")
        self._provenance: dict[str, str] = {}
        self._sequence = SequenceWatch()
        self._last_frame_ns = dict.fromkeys(self.contract.camera_names, 0)
        self._waiting = recorded_topics(self.contract, raw=bool(self.value("raw")))
        if box:
            self._open_box(Path(box))
        if folder:
            self._open_bag(Path(folder))
        if checkpoint := str(self.value("checkpoint")):
            self._name_checkpoint(checkpoint)
        self.subscribe(PolicyState, "policy_state", self._take_policy_state, qos.LATCHED)
        self._collector = ParameterCollector(self, self._take_parameters)
        self.timer(_LOOK_FOR_PUBLISHERS_S, self._subscribe_to_found)
        self.timer(_LOOK_AROUND_S, self._look_around)
        publish_diagnostics(self, self._health)

    def _open_bag(self, folder: Path) -> None:
        bag = BagWriter(
            folder,
            self.contract,
            ros=str(self.value("ros")),
            compression=str(self.value("compression")),
            min_free_bytes=int(self.value("min_free_mb")) * _MB,
        )
        bag.__enter__()
        self._recording = Recording(
            bag,
            queue_bytes=int(self.value("queue_mb")) * _MB,
            on_stop=lambda reason: self.get_logger().error(f"recording stopped: {reason}"),
        )
        if self.value("film"):
            for camera in self.contract.cameras:
                msgtype = camera_type(camera)
                name = self.resolve_topic_name(film_topic(camera.name))
                convert = film_conversion(name, msgtype)
                self._listen(
                    camera.topic, msgtype, qos.CAMERA_INPUT, self._film_callback(camera.name, msgtype, convert)
                )

    def _open_box(self, folder: Path) -> None:
        def say(text: str, problem: bool) -> None:
            (self.get_logger().error if problem else self.get_logger().info)(text)

        self._box = BlackBoxKeeper(
            folder,
            self.contract,
            Ring(float(self.value("black_box_s")), int(self.value("black_box_mb")) * _MB),
            Pending(float(self.value("black_box_after_s"))),
            most_boxes=int(self.value("black_box_most")),
            ros=str(self.value("ros")),
            say=say,
        )
        self.service(TriggerService, "~/save", self._serve_save)

    def teardown(self) -> None:
        """Close the bag, and write the box that is pending."""
        if self._collector is not None:
            self._collector.close()
            self._collector = None
        if self._box is not None:
            self._box.close(self.now_ns())
            self._box = None
        if self._recording is not None:
            # rosout is gone when the process was told to end, so this goes to the console.
            print(self._recording.close().summary(), flush=True)
            self._recording = None

    # --- taking messages ------------------------------------------------------------------------------------------

    def _subscribe_to_found(self) -> None:
        """Subscribe with the quality of service that the publishers offer: latched topics are latched for us, too."""
        for topic in list(self._waiting):
            publishers = self.get_publishers_info_by_topic(self.resolve_topic_name(topic.name))
            if not publishers:
                continue
            self._waiting.remove(topic)
            latched = all(p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers)
            reliable = all(p.qos_profile.reliability == ReliabilityPolicy.RELIABLE for p in publishers)
            depth = _IMAGE_DEPTH if topic.msgtype == IMAGE else _DEPTH
            profile = QoSProfile(
                depth=depth,
                durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
                reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            )
            offered = OfferedQos(reliable, latched, max(1, publishers[0].qos_profile.depth or 10))
            self._listen(topic.name, topic.msgtype, profile, self._store_callback(topic, offered))

    def _listen(
        self, topic: str, msgtype: str, profile: QoSProfile, callback: Callable[[bytes, MessageInfo], None]
    ) -> None:
        """Subscribe to serialized messages, where their type is installed."""
        package, kind = topic_parts = msgtype.split("/msg/")
        try:
            message_class = getattr(importlib.import_module(f"{package}.msg"), kind)
        except (ImportError, AttributeError):
            self.get_logger().warning(f"{topic}: not recorded, {' '.join(topic_parts)} is not installed")
            return
        # Not self.subscribe, which gives no message info.
        subscription = self.create_subscription(message_class, topic, callback, profile, raw=True)
        self.own(subscription, self.destroy_subscription)

    def _store_callback(self, topic: RecordedTopic, offered: OfferedQos) -> Callable[[bytes, MessageInfo], None]:
        name = self.resolve_topic_name(topic.name)
        conversion: Conversion | None = None
        if topic.msgtype == IMAGE and self.value("images") == "jpeg":
            conversion = jpeg_conversion(name, int(self.value("jpeg_quality")))
        if self._recording is not None:
            stored = conversion or topic
            self._recording.add_topic(name if conversion is None else conversion.topic, stored.msgtype, offered)

        # rclpy counts the arguments of the callback; a partial would hide them.
        def store(data: bytes, info: MessageInfo) -> None:
            if not self.active:
                return
            message = Message(name, topic.msgtype, self.now_ns(), data)
            missing = self._sequence.missing(name, *_sequence_of(info))
            if self._recording is not None:
                self._recording.put(message, conversion, missing)
            if self._box is not None:
                self._box.add(message, latched=offered.latched)

        return store

    def _film_callback(self, camera: str, msgtype: str, conversion: Conversion) -> Callable[[bytes, MessageInfo], None]:
        def film(data: bytes, info: MessageInfo) -> None:
            ns = header_stamp_ns(data)
            if not self.active or self._recording is None or abs(ns - self._last_frame_ns[camera]) < _FILM_PERIOD_NS:
                return
            self._last_frame_ns[camera] = ns
            now_ns, published_ns = self.now_ns(), info["source_timestamp"]
            # The driver's own time of publishing, where it is on this clock, tells its share of the latency from ours.
            at_ns = published_ns if 0 <= now_ns - published_ns < _SAME_CLOCK_NS else now_ns
            self._recording.put(Message(conversion.topic, msgtype, at_ns, data), conversion)

        return film

    # --- what it tells of itself ----------------------------------------------------------------------------------

    def _tell(self, provenance: Mapping[str, str]) -> None:
        if all(self._provenance.get(key) == value for key, value in provenance.items()):
            return
        self._provenance |= provenance
        if self._recording is not None:
            self._recording.tell(provenance)
        if self._box is not None:
            self._box.provenance = dict(self._provenance)

    def _take_policy_state(self, state: PolicyState) -> None:
        if state.checkpoint_sha256:
            self._tell({"checkpoint_sha256": state.checkpoint_sha256})

    def _take_parameters(self, parameters: Mapping[str, Mapping[str, Any]]) -> None:
        self._tell({"parameters": json.dumps(parameters, sort_keys=True, default=str)})
        for values in parameters.values():
            checkpoint = values.get("checkpoint")
            if isinstance(checkpoint, str) and checkpoint and "checkpoint" not in self._provenance:
                self._name_checkpoint(checkpoint)

    def _name_checkpoint(self, checkpoint: str) -> None:
        """Name the policy's folder in the bag and, from a thread, put the hashes of its tensors beside the bag."""
        self._tell({"checkpoint": checkpoint})
        bag = str(self.value("bag"))
        if not bag:
            return

        def fingerprint() -> None:
            try:
                write_fingerprint(Path(checkpoint), Path(bag) / "checkpoint.json")
            except (OSError, ValueError) as error:
                self.get_logger().warning(f"checkpoint {checkpoint}: no fingerprint of it in the bag: {error}")

        threading.Thread(target=fingerprint, name="fingerprint", daemon=True).start()

    def _look_around(self) -> None:
        if self._collector is not None:
            self._collector.look()
        if self._box is not None and self.active:
            now_ns = self.now_ns()
            self._box.see_rivals([t for t in self.contract.command_topics if self.count_publishers(t) > 1], now_ns)
            self._box.tick(now_ns)

    def _serve_save(
        self, _request: TriggerService.Request, response: TriggerService.Response
    ) -> TriggerService.Response:
        if self._box is None or not self.active:
            response.message = "the recorder is not active; activate it first"
            return response
        folder = self._box.save(Trigger("button", "~/save was called"), self.now_ns())
        response.success = folder is not None
        response.message = f"writing {folder}" if folder is not None else self._box.problem
        return response

    def _health(self) -> Health:
        values: dict[str, Any] = {}
        if self._box is not None:
            values["black_box"] = self._box.problem or "ready"
        if self._recording is not None:
            counts = self._recording.counts()
            values |= {"recorded": counts.recorded, "lost": counts.lost, "most_queued_bytes": counts.most_queued_bytes}
            if counts.stopped:
                return Health(Level.ERROR, f"recording stopped: {counts.stopped}", values)
            if counts.lost:
                return Health(Level.WARN, counts.summary(), values)
        if self._box is not None and self._box.problem:
            return Health(Level.WARN, self._box.problem, values)
        return Health(Level.OK, "recording" if self._recording is not None else "black box ready", values)


def _sequence_of(info: MessageInfo) -> tuple[bytes, int | None]:
    """Return the publisher and its number of the message; Humble gives no number."""
    publisher = info.get("publisher_gid")
    return (bytes(publisher["data"]) if publisher else b""), info.get("publication_sequence_number")


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM."""
    sys.exit(run(RecorderNode, args))


if __name__ == "__main__":
    main()
