# SPDX-License-Identifier: Apache-2.0
"""The conditioned observation's topics, decoded and checked, for every node that reads them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState

from swiftvla_ros.contract import Camera, Contract
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.executor import Unattended
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.silence import Awaited
from swiftvla_ros.observation.image_decoding import ImageDecodingError, conditioned_image
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.message_fields import header_stamp_ns, measured_positions, stamp_ns

_REPEAT_S = 5.0

TakeImage = Callable[[str, int, NDArray[np.uint8], str], object]
"""Called with the camera, the stamp (ns), the picture and the frame in which it was taken."""


def subscribe_to_state(
    node: ManagedNode[Any],
    take: Callable[[int, NDArray[np.float64]], object],
    refused: Callable[[], object] = lambda: None,
) -> None:
    """Have ``take`` called with stamp (ns) and positions [J] of each state, ``refused`` for what is none.

    ``joint_state_node`` passes on only what can be believed, and the executor, which commands, judges once more.
    """

    def take_state(message: JointState) -> None:
        try:
            positions = measured_positions(message, node.contract.joint_names)
        except JointStateError as error:
            _refuse(node, str(error), refused)
        else:
            take(stamp_ns(message.header.stamp), positions)

    node.subscribe(JointState, "observation/state", take_state, qos.STATE_INPUT)
    await_state(node)


class KeptStates:
    """The joint states of the last seconds for who needs one now and then, by its stamp."""

    def __init__(self, node: ManagedNode[Any]) -> None:
        self._node = node
        self._topic = node.own(Unattended(node, JointState, "observation/state", qos.KEPT_STATES), Unattended.close)
        self._kept: deque[bytes] = deque(maxlen=qos.KEPT_STATES.depth)

    def at(self, stamp: int) -> NDArray[np.float64] | None:
        """The positions [J] of exactly this stamp (ns); None where they didn't come, or are none."""
        self._kept.extend(message for message, _ in self._topic.take(raw=True))
        kept = next((kept for kept in reversed(self._kept) if header_stamp_ns(kept) == stamp), None)
        if kept is None:
            return None
        try:
            return measured_positions(deserialize_message(kept, JointState), self._node.contract.joint_names)
        except JointStateError as error:
            _refuse(self._node, str(error), lambda: None)
            return None


def subscribe_to_images(
    node: ManagedNode[Any],
    cameras: Sequence[str],
    take: TakeImage,
    profile: QoSProfile,
    refused: Callable[[], object] = lambda: None,
) -> None:
    """Have ``take`` called with each picture of the cameras, ``refused`` for each message that is none."""

    def take_image(camera: str, message: Image) -> None:
        try:
            image = conditioned_image(message, node.contract.camera(camera).size)
        except ImageDecodingError as error:
            _refuse(node, f"observation/{camera}: {error}", refused)
        else:
            take(camera, stamp_ns(message.header.stamp), image, message.header.frame_id)

    for camera in cameras:
        node.subscribe(Image, f"observation/{camera}", partial(take_image, camera), profile)
        width, height = node.contract.camera(camera).size
        driver = driver_images(node.contract.camera(camera))
        node.awaits(
            driver.what, Image, f"observation/{camera}", profile, message_bytes=3 * width * height, source=driver
        )


def await_state(node: ManagedNode[Any]) -> None:
    """Have the silence of ``observation/state`` explained, back to the driver."""
    node.awaits("joint states", JointState, "observation/state", qos.STATE_INPUT, source=driver_states(node.contract))


def driver_states(contract: Contract) -> Awaited:
    """What the joint state node waits for."""
    return Awaited("joint states", contract.joint_states.topic, JointState, qos.STATE_INPUT)


def driver_images(camera: Camera) -> Awaited:
    """What a camera's node waits for; compressed pictures take a tenth of the space."""
    width, height = camera.source_size
    raw = camera.transport == "raw"
    return Awaited(
        f"images of camera '{camera.name}'",
        camera.topic,
        Image if raw else CompressedImage,
        qos.CAMERA_INPUT,
        message_bytes=3 * width * height // (1 if raw else 10),
    )


def _refuse(node: ManagedNode[Any], problem: str, refused: Callable[[], object]) -> None:
    refused()
    node.get_logger().error(f"message refused: {problem}", throttle_duration_sec=_REPEAT_S)
