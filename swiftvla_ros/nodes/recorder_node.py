# SPDX-License-Identifier: Apache-2.0
"""Records what the policy saw, wanted and did, into a bag, a black box or both; a process of its own.

The node's thread only takes serialized messages; a thread of ``Recording`` writes
them, so that neither a command nor the middleware ever waits for the disk.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.subscription import MessageInfo

from swiftvla_ros.episodes.bags.bag import RawMessage
from swiftvla_ros.episodes.bags.topics import camera_type, demonstration_topics, film_topic, recorded_topics
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.episodes.recording.black_box import Pending, Ring, Trigger
from swiftvla_ros.episodes.recording.black_box_keeper import BlackBoxKeeper
from swiftvla_ros.episodes.recording.recording import (
    IMAGE,
    Conversion,
    Recording,
    film_conversion,
    jpeg_conversion,
)
from swiftvla_ros.msg import PolicyState
from swiftvla_ros.nodes.recording.recorder_parameters import ParameterCollector
from swiftvla_ros.nodes.recording.recorder_parts import RecorderParts
from swiftvla_ros.nodes.recording.topic_taps import Take, Tap, TopicTaps, listen
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.diagnostics import publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import sequence_of
from swiftvla_ros.nodes.ros.parameters import Allowed
from swiftvla_ros.observation.message_fields import header_stamp_ns
from swiftvla_ros.policy.checkpoint_fingerprint import write_fingerprint
from swiftvla_ros.policy.lerobot.folder import is_lerobot

_LOOK_AROUND_S = 1.0
_FILM_PERIOD_NS = 60_000_000
_SAME_CLOCK_NS = 1_000_000_000
_MB = 1 << 20


class RecorderNode(ManagedNode[RecorderParts]):
    """Takes every recorded topic with the quality of service of its publishers."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self.describe("bag", "", "folder of the new bag; must not exist. Empty: only a black box")
        self.describe("film", True, "store small JPEGs of the raw cameras as film/<camera>, for people")
        self.describe("raw", False, "record the cameras' own topics, too")
        self.describe("demonstrations", False, "record a person's work: the drivers' topics as published, no film")
        self.describe("instruction", "", "what is being done, for the bag's metadata")
        self.describe(
            "images",
            "raw",
            "raw: what the policy saw, bit for bit; jpeg: a tenth of the space",
            Allowed(one_of=("raw", "jpeg")),
        )
        self.describe("jpeg_quality", 92, "1 to 100, with images: jpeg", Allowed(least=1, most=100))
        self.describe(
            "compression", "", "of the file's chunks: zstd, lz4, or nothing", Allowed(one_of=("", "zstd", "lz4"))
        )
        self.describe("ros", "jazzy", "distribution whose rosbag2 is to read the bag: humble, jazzy or kilted")
        self.describe(
            "queue_mb",
            256,
            "what may wait to be written, MB; what comes beyond it is counted as lost",
            Allowed(least=1),
        )
        self.describe(
            "min_free_mb",
            500,
            "space that stays free on the disk, MB; the recording ends before it is used",
            Allowed(least=0),
        )
        self.describe("checkpoint", "", "the policy's folder, to be named and fingerprinted in the bag")
        self.describe("black_box", "", "folder in which the last seconds are written on fault, stop or ~/save")
        self.describe("black_box_s", 30.0, "seconds that the black box remembers", Allowed(least=0.1))
        self.describe("black_box_after_s", 2.0, "seconds after a fault that it still waits for", Allowed(least=0))
        self.describe("black_box_mb", 256, "memory that it may use, MB", Allowed(least=1))
        self.describe("black_box_most", 50, "boxes that may lie in the folder; none is ever deleted", Allowed(least=0))

    def setup(self) -> RecorderParts:
        """Open the bag, and look for what there is to record."""
        folder, box = str(self.value("bag")), str(self.value("black_box"))
        if not folder and not box:
            raise ValueError("parameters bag and black_box are both empty; write a folder for one of them")
        parts = self._parts = RecorderParts(
            ParameterCollector(self, lambda parameters: self._take_parameters(parts, parameters)),
            dict.fromkeys(self.contract.camera_names, 0),
        )
        if box:
            parts.box = self._open_box(Path(box))
        if folder:
            parts.recording = self._open_bag(Path(folder))
            if self.value("film") and not self.value("demonstrations"):
                self._film(parts)
        if instruction := str(self.value("instruction")):
            parts.tell({"task": instruction})
        if checkpoint := str(self.value("checkpoint")):
            self._name_checkpoint(parts, checkpoint)
        self.subscribe(PolicyState, "policy_state", partial(self._take_policy_state, parts), qos.LATCHED)
        topics = recorded_topics(self.contract, raw=bool(self.value("raw")))
        if self.value("demonstrations"):
            topics = demonstration_topics(self.contract)
        TopicTaps(self, topics, lambda tap: self._store_callback(parts, tap))
        self.timer(_LOOK_AROUND_S, lambda: self._look_around(parts))
        publish_diagnostics(self, parts.health)
        return parts

    def _open_bag(self, folder: Path) -> Recording:
        bag = BagWriter(
            folder,
            self.contract,
            ros=str(self.value("ros")),
            compression=str(self.value("compression")),
            min_free_bytes=int(self.value("min_free_mb")) * _MB,
        )
        bag.__enter__()
        return Recording(
            bag,
            queue_bytes=int(self.value("queue_mb")) * _MB,
            on_stop=lambda reason: self.get_logger().error(f"recording stopped: {reason}"),
        )

    def _film(self, parts: RecorderParts) -> None:
        for camera in self.contract.cameras:
            msgtype = camera_type(camera)
            conversion = film_conversion(self.resolve_topic_name(film_topic(camera.name)), msgtype)
            film = self._film_callback(parts, camera.name, msgtype, conversion)
            listen(self, camera.topic, msgtype, qos.CAMERA_INPUT, film)

    def _open_box(self, folder: Path) -> BlackBoxKeeper:
        def say(text: str, problem: bool) -> None:
            (self.get_logger().error if problem else self.get_logger().info)(text)

        box = BlackBoxKeeper(
            folder,
            self.contract,
            Ring(float(self.value("black_box_s")), int(self.value("black_box_mb")) * _MB),
            Pending(float(self.value("black_box_after_s"))),
            most_boxes=int(self.value("black_box_most")),
            ros=str(self.value("ros")),
            say=say,
        )
        self.button("~/save", partial(self._save, box))
        return box

    def teardown(self, parts: RecorderParts) -> None:
        """Close the bag, and write the box that is pending."""
        # rosout is gone when the process was told to end, so this goes to the console.
        print(parts.close(self.now_ns()), end="", flush=True)

    # --- taking messages ------------------------------------------------------------------------------------------

    def _store_callback(self, parts: RecorderParts, tap: Tap) -> Take:
        conversion: Conversion | None = None
        if tap.msgtype == IMAGE and self.value("images") == "jpeg":
            conversion = jpeg_conversion(tap.name, int(self.value("jpeg_quality")))
        if parts.recording is not None:
            topic, msgtype = (tap.name, tap.msgtype) if conversion is None else (conversion.topic, conversion.msgtype)
            parts.recording.add_topic(topic, msgtype, tap.offered)

        def store(data: bytes, info: MessageInfo) -> None:
            if not self.active:
                return
            message = RawMessage(tap.name, tap.msgtype, self.now_ns(), data)
            missing = parts.sequence.missing(tap.name, *sequence_of(info))
            parts.store(message, conversion, missing, latched=tap.offered.latched)

        return store

    def _film_callback(self, parts: RecorderParts, camera: str, msgtype: str, conversion: Conversion) -> Take:
        def film(data: bytes, info: MessageInfo) -> None:
            ns = header_stamp_ns(data)
            if not self.active or parts.recording is None or abs(ns - parts.last_frame_ns[camera]) < _FILM_PERIOD_NS:
                return
            parts.last_frame_ns[camera] = ns
            now_ns, published_ns = self.now_ns(), info["source_timestamp"]
            # The driver's own time of publishing, where it is on this clock, tells its share of the latency from ours.
            at_ns = published_ns if 0 <= now_ns - published_ns < _SAME_CLOCK_NS else now_ns
            parts.recording.put(RawMessage(conversion.topic, msgtype, at_ns, data), conversion)

        return film

    # --- what it tells of itself ----------------------------------------------------------------------------------

    def _take_policy_state(self, parts: RecorderParts, state: PolicyState) -> None:
        if state.checkpoint_sha256:
            parts.tell({"checkpoint_sha256": state.checkpoint_sha256})

    def _take_parameters(self, parts: RecorderParts, parameters: Mapping[str, Mapping[str, Any]]) -> None:
        parts.tell({"parameters": json.dumps(parameters, sort_keys=True, default=str)})
        for values in parameters.values():
            checkpoint = values.get("checkpoint")
            if isinstance(checkpoint, str) and checkpoint and "checkpoint" not in parts.provenance:
                self._name_checkpoint(parts, checkpoint)

    def _name_checkpoint(self, parts: RecorderParts, checkpoint: str) -> None:
        """Name the policy's folder in the bag and, from a thread, put the hashes of its tensors beside the bag."""
        parts.tell({"checkpoint": checkpoint})
        bag = str(self.value("bag"))
        if not bag:
            return

        def fingerprint() -> None:
            try:
                if not is_lerobot(checkpoint):  # of those the hash in each chunk tells enough
                    write_fingerprint(Path(checkpoint), Path(bag) / "checkpoint.json")
            except (OSError, ValueError) as error:
                self.get_logger().warning(f"checkpoint {checkpoint}: no fingerprint of it in the bag: {error}")

        threading.Thread(target=fingerprint, name="fingerprint", daemon=True).start()

    def _look_around(self, parts: RecorderParts) -> None:
        parts.collector.look()
        if parts.box is not None and self.active:
            now_ns = self.now_ns()
            parts.box.see_rivals([t for t in self.contract.command_topics if self.count_publishers(t) > 1], now_ns)
            parts.box.tick(now_ns)

    def _save(self, box: BlackBoxKeeper) -> tuple[bool, str]:
        if not self.active:
            return False, "the recorder is not active; activate it first"
        folder = box.save(Trigger("button", "~/save was called"), self.now_ns())
        return (True, f"writing {folder}") if folder is not None else (False, box.problem)


main = script_of(RecorderNode)

if __name__ == "__main__":
    main()
