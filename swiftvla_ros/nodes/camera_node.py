# SPDX-License-Identifier: Apache-2.0
"""One camera: raw or compressed images in, what the policy sees out, with the sensor's stamp."""

from __future__ import annotations

import sys
import zlib

from sensor_msgs.msg import CompressedImage, Image

from swiftvla_ros.contract.images import condition_image
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, run
from swiftvla_ros.nodes.ros.messages import rgb_message
from swiftvla_ros.observation.image_decoding import ImageDecodingError, rgb_of
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.observation.stamp_clock import StampClock

_REPEAT_S = 5.0


class CameraNode(ManagedNode):
    """Publishes ``observation/<camera>``; everything runs in the executor's thread."""

    def __init__(self) -> None:
        super().__init__("camera")
        self.describe("camera", "", "name of the camera in the contract")
        self.describe("repeated_for_s", 0.0, "refuse a picture that comes byte for byte for longer, s; 0: never")

    def setup(self) -> None:
        """Find the camera in the contract."""
        name = str(self.value("camera"))
        if name not in self.contract.camera_names:
            raise ValueError(
                f"parameter camera is '{name}', but {self.contract.path} has {', '.join(self.contract.camera_names)}"
            )
        self._camera = self.contract.camera(name)
        self._stamps = StampClock(self._camera.topic)
        self._repeated_for_ns = round(float(self.value("repeated_for_s")) * 1e9)
        if self._repeated_for_ns < 0:
            raise ValueError("parameter repeated_for_s is negative; write 0 (never) or more")
        self._max_age_ns = round(self.contract.policy.max_image_age_s * 1e9)
        self._output = self.publisher(Image, f"observation/{name}", qos.IMAGE)
        self.subscribe(
            Image if self._camera.transport == "raw" else CompressedImage,
            self._camera.topic,
            self._condition,
            qos.CAMERA_INPUT,
        )
        self.timer(1.0, self._watch)

    def start(self) -> None:
        """Count silence from now on."""
        self._last_received_ns = self.now_ns()
        self._picture: tuple[int, int] | None = None

    def _condition(self, message: Image | CompressedImage) -> None:
        now_ns = self.now_ns()
        if self.clock_jumped_back(now_ns):
            self._stamps.clear()
            self._picture = None
        self._last_received_ns = now_ns
        ns = self._stamps.resolve(stamp_ns(message.header.stamp), now_ns)
        if warning := self._stamps.take_warning():
            self.get_logger().warning(warning)
        repeated_ns = self._repeated_ns(message, now_ns)
        if 0 < self._repeated_for_ns < repeated_ns:
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
        expected = self._camera.source_size
        if (image.shape[1], image.shape[0]) != expected:
            self.get_logger().error(
                f"{self._refused}got {image.shape[1]}×{image.shape[0]} px, expected {expected[0]}×{expected[1]}; "
                "correct source_size in the contract or the driver's resolution",
                throttle_duration_sec=_REPEAT_S,
            )
            return
        self._output.publish(rgb_message(condition_image(image, self._camera), ns, message.header.frame_id))

    def _repeated_ns(self, message: Image | CompressedImage, now_ns: int) -> int:
        """For how long this very picture has come; no sensor's noise gives the same bytes twice."""
        if not self._repeated_for_ns:
            return 0
        digest = zlib.crc32(message.data)
        if self._picture is None or self._picture[0] != digest:
            self._picture = digest, now_ns
        return now_ns - self._picture[1]

    @property
    def _refused(self) -> str:
        return f"camera '{self._camera.name}': images on {self._camera.topic} are refused: "

    def _watch(self) -> None:
        silence_ns = self.now_ns() - self._last_received_ns if self.active else 0
        if silence_ns > self._max_age_ns:
            self.get_logger().warning(
                f"camera '{self._camera.name}': no image on {self._camera.topic} for {silence_ns / 1e9:.1f} s",
                throttle_duration_sec=_REPEAT_S,
            )


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM."""
    sys.exit(run(CameraNode, args))


if __name__ == "__main__":
    main()
