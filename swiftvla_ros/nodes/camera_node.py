# SPDX-License-Identifier: Apache-2.0
"""One camera: raw or compressed images in, what the policy sees out, with the sensor's stamp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from swiftvla_ros.contract import Camera
from swiftvla_ros.contract.images import condition_image
from swiftvla_ros.nodes.parts.observation_topics import driver_images
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.diagnostics import Health, Level, publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import rgb_message
from swiftvla_ros.nodes.ros.parameters import Allowed
from swiftvla_ros.observation.image_decoding import ImageDecodingError, rgb_of
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.message_fields import measured_positions, stamp_ns
from swiftvla_ros.observation.repeated_picture import RepeatedPicture
from swiftvla_ros.observation.stamp_clock import StampClock

_REPEAT_S = 5.0
# Problems that begin alike are one, whose numbers grow.
_KIND = 90


@dataclass
class CameraParts:
    """The camera, where its pictures go, and what is known of the driver's.

    ``problem`` is why the last one was refused, or why none comes; it was ``told`` on ``problems``.
    """

    camera: Camera
    stamps: StampClock
    output: Any
    problems: Any
    repeated: RepeatedPicture | None
    sees_arm: bool = False
    received: int = 0
    refused: int = 0
    problem: str = ""
    told: str = ""


class CameraNode(ManagedNode[CameraParts]):
    """Publishes ``observation/<camera>``, and beside it what is wrong; everything runs in the executor's thread."""

    def __init__(self) -> None:
        super().__init__("camera")
        self.describe("camera", "", "name of the camera in the contract")
        self.describe(
            "repeated_for_s",
            0.0,
            "refuse a picture that comes byte for byte for longer while the arm moves, s; 0: never",
            Allowed(least=0),
        )

    def setup(self) -> CameraParts:
        """Find the camera in the contract."""
        name, repeated_for_s = str(self.value("camera")), float(self.value("repeated_for_s"))
        if name not in self.contract.camera_names:
            raise ValueError(
                f"parameter camera is '{name}', but {self.contract.path} has {', '.join(self.contract.camera_names)}"
            )
        camera = self.contract.camera(name)
        driver = driver_images(camera)
        self.subscribe(driver.kind, camera.topic, self._condition, qos.CAMERA_INPUT)
        self.awaits(driver.what, driver.kind, camera.topic, qos.CAMERA_INPUT, message_bytes=driver.message_bytes)
        if name in self.contract.drivers.cameras:
            # This package's own driver says itself why nothing comes.
            problem = f"{camera.topic}_problem"
            self.subscribe(String, problem, lambda m: self.silence.told(camera.topic, m.data), qos.LATCHED, always=True)
        repeated = None
        if repeated_for_s and not camera.may_repeat:
            repeated = RepeatedPicture(self.contract, repeated_for_s)
        self.steady_timer(1.0, self._watch)
        publish_diagnostics(self, self._health)
        output = self.publisher(Image, f"observation/{name}", qos.IMAGE)
        problems = self.publisher(String, f"observation/{name}_problem", qos.LATCHED)
        return CameraParts(camera, StampClock(camera.topic), output, problems, repeated)

    def start(self) -> None:
        """Judge pictures from now on."""
        if self.parts.repeated is not None:
            self.parts.repeated.clear()

    def _condition(self, message: Image | CompressedImage) -> None:
        parts, now_ns = self.parts, self.now_ns()
        if self.clock_jumped_back(now_ns):
            parts.stamps.clear()
            if parts.repeated is not None:
                parts.repeated.clear()
        parts.received += 1
        ns = parts.stamps.resolve(stamp_ns(message.header.stamp), now_ns)
        if warning := parts.stamps.take_warning():
            self.get_logger().warning(warning)
        frozen_s = 0.0
        if parts.repeated is not None:
            frozen_s = parts.repeated.frozen_s(message.data, now_ns)
            # Fifty states a second cost as much as the pictures, and most cameras never repeat one.
            if parts.repeated.repeats and not parts.sees_arm:
                parts.sees_arm = True
                self.subscribe(JointState, "observation/state", self._see_arm, qos.STATE_INPUT)
        if frozen_s:
            # A log line of its own: rclpy throttles each place in the code by itself.
            self.get_logger().error(
                self._refuse(
                    f"the same picture has come for {frozen_s:.1f} s while the arm moved: the driver repeats it; start "
                    "it again, or write `may_repeat: true` for this camera in the contract if it doesn't see the arm"
                ),
                throttle_duration_sec=_REPEAT_S,
            )
            return
        try:
            image = rgb_of(message)
        except ImageDecodingError as error:
            self.get_logger().error(self._refuse(str(error)), throttle_duration_sec=_REPEAT_S)
            return
        expected = parts.camera.source_size
        if (image.shape[1], image.shape[0]) != expected:
            self.get_logger().error(
                self._refuse(
                    f"got {image.shape[1]}×{image.shape[0]} px, expected {expected[0]}×{expected[1]}; "
                    "correct source_size in the contract or the driver's resolution"
                ),
                throttle_duration_sec=_REPEAT_S,
            )
            return
        self._tell("")
        parts.output.publish(rgb_message(condition_image(image, parts.camera), ns, message.header.frame_id))

    def _see_arm(self, message: JointState) -> None:
        try:
            position = measured_positions(message, self.contract.joint_names)
        except JointStateError:
            return  # others say so
        if self.parts.repeated is not None:
            self.parts.repeated.measured(position)

    def _refuse(self, why: str) -> str:
        parts = self.parts
        parts.refused += 1
        count = f"{parts.refused} of {parts.received} so far"
        text = f"camera '{parts.camera.name}': images on {parts.camera.topic} are refused: {why} ({count})"
        self._tell(text)
        return text

    def _tell(self, problem: str) -> None:
        """Publish what is wrong, where that changed; numbers in it change with each picture, its kind does not."""
        parts, parts.problem = self.parts, problem
        if problem[:_KIND] != parts.told[:_KIND]:
            parts.told = problem
            parts.problems.publish(String(data=problem))

    def _watch(self) -> None:
        if self.silence.text:
            self._tell(self.silence.text)

    def _health(self) -> Health:
        """What came in the last second, and what is wrong with it."""
        parts, count = self.parts, self.parts.received
        parts.received = 0
        values = {"images in the last second": count, "expected": f"{parts.camera.rate_hz:g}"}
        if parts.problem:
            return Health(Level.ERROR, parts.problem, values)
        if self.active and 0 < count < parts.camera.rate_hz / 2:
            text = (
                f"{count} images a second instead of {parts.camera.rate_hz:g}: the driver is slow, or they get lost; "
                "give it the Fast DDS profile config/fastdds_shm.xml, too"
            )
            return Health(Level.WARN, text, values)
        return Health(Level.OK, "images are conditioned" if count else "no image in the last second", values)


main = script_of(CameraNode)

if __name__ == "__main__":
    main()
