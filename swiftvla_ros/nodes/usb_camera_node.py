# SPDX-License-Identifier: Apache-2.0
"""The driver of one USB camera, or a film in its place: frames onto the contract's topic as they come."""

from __future__ import annotations

import array
import time
from dataclasses import dataclass, field
from typing import Any

from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from swiftvla_ros.contract import Camera
from swiftvla_ros.drivers.cameras.frames import CameraFrame
from swiftvla_ros.drivers.cameras.health import camera_health
from swiftvla_ros.drivers.cameras.published import as_jpeg, as_pixels
from swiftvla_ros.drivers.cameras.reader import CameraCounts, CameraReader
from swiftvla_ros.drivers.cameras.sources import source_of
from swiftvla_ros.extras import need
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.diagnostics import Health, Level, publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import header
from swiftvla_ros.observation.image_decoding import ImageDecodingError

_REPEAT_S = 5.0
_LEVELS = {"ok": Level.OK, "warning": Level.WARN, "error": Level.ERROR}


@dataclass
class UsbCameraParts:
    """The camera, where its pictures go, and its reader while the node is active.

    ``failure`` is what ended the reader, if it is a fault of this program; ``seen`` and ``seen_s`` are the counts of
    the last report and when it was.
    """

    camera: Camera
    output: Any
    problems: Any
    reader: CameraReader | None = None
    failure: Exception | None = None
    seen: CameraCounts = field(default_factory=CameraCounts)
    seen_s: float = 0.0


class UsbCameraNode(ManagedNode[UsbCameraParts]):
    """Publishes what one camera sends, and beside it what is wrong.

    The reader's thread reads, checks and publishes pictures, and says when the camera goes and comes; the executor's
    thread only looks at its counts, once a second. Stamps are the system clock's, whatever the ROS clock is.
    """

    def __init__(self) -> None:
        super().__init__("usb_camera")
        self.describe("camera", "", "name of the camera in the contract's drivers.cameras")

    def setup(self) -> UsbCameraParts:
        """Find the camera in the contract; it is opened when the node is activated."""
        need("av")
        name, known = str(self.value("camera")), self.contract.drivers.cameras
        if name not in known:
            has = ", ".join(known) or "none"
            raise ValueError(
                f"parameter camera is '{name}', but drivers.cameras of {self.contract.path} has {has}; add its entry"
            )
        camera = self.contract.camera(name)
        kind = Image if camera.transport == "raw" else CompressedImage
        output = self.publisher(kind, camera.topic, qos.IMAGE)
        problems = self.publisher(String, f"{camera.topic}_problem", qos.LATCHED)
        publish_diagnostics(self, self._health)
        return UsbCameraParts(camera, output, problems)

    def start(self) -> None:
        """Begin to read the camera, whether it is there or not yet."""
        parts = self.parts
        driver = self.contract.drivers.cameras[parts.camera.name]
        source = source_of(driver, self.contract.path.parent, parts.camera.source_size, parts.camera.rate_hz)
        parts.seen, parts.seen_s = CameraCounts(), time.monotonic()
        parts.reader = CameraReader(source, self._publish, self._tell, self._end_with)

    def stop(self) -> None:
        """Let go of the camera."""
        if self._parts is None or self._parts.reader is None:
            return
        if not self._parts.reader.end():
            self.get_logger().warning("the camera hangs: the end of this process lets go of it")
        self._parts.reader = None

    def _publish(self, frame: CameraFrame, data: bytes, stamp_ns: int) -> None:
        camera, output = self.parts.camera, self.parts.output
        head = header(stamp_ns, f"{camera.name}_optical_frame")
        if camera.transport == "compressed":
            jpeg = array.array("B", as_jpeg(frame, data))
            output.publish(CompressedImage(header=head, format="jpeg", data=jpeg))
            return
        try:
            pixels, encoding = as_pixels(frame, data)
        except ImageDecodingError as error:
            self.get_logger().error(f"picture left out: {error}", throttle_duration_sec=_REPEAT_S)
            return
        buffer = array.array("B", pixels)
        message = Image(header=head, height=frame.height, width=frame.width, encoding=encoding)
        message.step, message.data = len(buffer) // frame.height, buffer
        output.publish(message)

    def _tell(self, problem: str) -> None:
        camera = self.parts.camera.name
        text = f"camera '{camera}': {problem}" if problem else ""
        self.parts.problems.publish(String(data=text))
        if text:
            self.get_logger().error(text)
        else:
            self.get_logger().info(f"camera '{camera}' gives pictures")

    def _end_with(self, error: Exception) -> None:
        self.parts.failure = error

    def _health(self) -> Health:
        """What came since the last report; a camera that hangs, or a fault of the reader, ends the process."""
        parts = self.parts
        if parts.failure is not None:
            raise RuntimeError("the camera's reader failed") from parts.failure
        if parts.reader is None:
            return Health(Level.OK, "inactive: the camera is closed")
        now_s, counts = time.monotonic(), parts.reader.counts
        health = camera_health(
            parts.seen,
            counts,
            max(now_s - parts.seen_s, 1e-3),
            parts.camera.rate_hz,
            parts.reader.problem,
            parts.reader.notes,
            parts.reader.silent_s,
        )
        parts.seen, parts.seen_s = counts, now_s
        if health.hangs:
            # Its driver does not come back from the kernel, and holds the device until this process is gone.
            silent = f"it has not answered for {parts.reader.silent_s:.0f} s"
            self.get_logger().fatal(f"camera '{parts.camera.name}': {silent}; this process ends to let go of it")
            raise SystemExit(1)
        return Health(_LEVELS[health.severity], health.text, health.values)


main = script_of(UsbCameraNode)

if __name__ == "__main__":
    main()
