# SPDX-License-Identifier: Apache-2.0
"""One camera: raw or compressed images in, what the policy sees out, with the sensor's stamp."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import CompressedImage, Image

from swiftvla_ros.contract import Camera
from swiftvla_ros.contract.images import condition_image
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import rgb_message
from swiftvla_ros.observation.image_decoding import ImageDecodingError, rgb_of
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.observation.stamp_clock import StampClock

_REPEAT_S = 5.0


@dataclass
class CameraParts:
    """The camera, and what is known of its messages; ``picture`` is the last one's digest and when it first came."""

    camera: Camera
    stamps: StampClock
    output: Any
    repeated_for_ns: int
    last_received_ns: int = 0
    picture: tuple[int, int] | None = None


class CameraNode(ManagedNode[CameraParts]):
    """Publishes ``observation/<camera>``; everything runs in the executor's thread."""

    def __init__(self) -> None:
        super().__init__("camera")
        self.describe("camera", "", "name of the camera in the contract")
        self.describe("repeated_for_s", 0.0, "refuse a picture that comes byte for byte for longer, s; 0: never")

    def setup(self) -> CameraParts:
        """Find the camera in the contract."""
        name, repeated_for_s = str(self.value("camera")), float(self.value("repeated_for_s"))
        if name not in self.contract.camera_names:
            raise ValueError(
                f"parameter camera is '{name}', but {self.contract.path} has {', '.join(self.contract.camera_names)}"
            )
        if repeated_for_s < 0:
            raise ValueError("parameter repeated_for_s is negative; write 0 (never) or more")
        camera = self.contract.camera(name)
        kind = Image if camera.transport == "raw" else CompressedImage
        self.subscribe(kind, camera.topic, self._condition, qos.CAMERA_INPUT)
        self.timer(1.0, self._watch)
        output = self.publisher(Image, f"observation/{name}", qos.IMAGE)
        return CameraParts(camera, StampClock(camera.topic), output, round(repeated_for_s * 1e9))

    def start(self) -> None:
        """Count silence from now on."""
        self.parts.last_received_ns = self.now_ns()
        self.parts.picture = None

    def _condition(self, message: Image | CompressedImage) -> None:
        parts, now_ns = self.parts, self.now_ns()
        if self.clock_jumped_back(now_ns):
            parts.stamps.clear()
            parts.picture = None
        parts.last_received_ns = now_ns
        ns = parts.stamps.resolve(stamp_ns(message.header.stamp), now_ns)
        if warning := parts.stamps.take_warning():
            self.get_logger().warning(warning)
        repeated_ns = self._repeated_ns(message, now_ns)
        if 0 < parts.repeated_for_ns < repeated_ns:
            # A log line of its own: rclpy throttles each place in the code by itself.
            self.get_logger().error(
                f"{self._refused}the same picture has come for {repeated_ns / 1e9:.1f} s: the driver repeats it",
                throttle_duration_sec=_REPEAT_S,
            )
            return
        try:
            image = rgb_of(message)
        except ImageDecodingError as error:
            self.get_logger().error(f"{self._refused}{error}", throttle_duration_sec=_REPEAT_S)
            return
        expected = parts.camera.source_size
        if (image.shape[1], image.shape[0]) != expected:
            self.get_logger().error(
                f"{self._refused}got {image.shape[1]}×{image.shape[0]} px, expected {expected[0]}×{expected[1]}; "
                "correct source_size in the contract or the driver's resolution",
                throttle_duration_sec=_REPEAT_S,
            )
            return
        parts.output.publish(rgb_message(condition_image(image, parts.camera), ns, message.header.frame_id))

    def _repeated_ns(self, message: Image | CompressedImage, now_ns: int) -> int:
        """For how long this very picture has come; no sensor's noise gives the same bytes twice."""
        parts = self.parts
        if not parts.repeated_for_ns:
            return 0
        digest = zlib.crc32(message.data)
        if parts.picture is None or parts.picture[0] != digest:
            parts.picture = digest, now_ns
        return now_ns - parts.picture[1]

    @property
    def _refused(self) -> str:
        return f"camera '{self.parts.camera.name}': images on {self.parts.camera.topic} are refused: "

    def _watch(self) -> None:
        camera = self.parts.camera
        silence_s = (self.now_ns() - self.parts.last_received_ns) / 1e9 if self.active else 0.0
        if silence_s > self.contract.policy.max_image_age_s:
            self.get_logger().warning(
                f"camera '{camera.name}': no image on {camera.topic} for {silence_s:.1f} s",
                throttle_duration_sec=_REPEAT_S,
            )


main = script_of(CameraNode)

if __name__ == "__main__":
    main()
