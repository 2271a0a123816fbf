# SPDX-License-Identifier: Apache-2.0
"""Moving grey pictures on the topics of a contract's cameras, for robots that have none."""

from __future__ import annotations

import array
from collections.abc import Iterable
from functools import partial
from typing import Any

import cv2
from sensor_msgs.msg import CompressedImage, Image

from swiftvla_ros.contract import Camera
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.messages import header, rgb_message
from swiftvla_ros.sim.robots.loopback import MovingPicture


class GreyCameras:
    """Publishes from timers of the node while it is active, each camera at its rate, in its size and transport.

    Cameras whose names are in ``others`` have pictures from elsewhere.
    """

    def __init__(self, node: ManagedNode[Any], others: Iterable[str] = ()) -> None:
        self._node = node
        for camera in [camera for camera in node.contract.cameras if camera.name not in set(others)]:
            kind = Image if camera.transport == "raw" else CompressedImage
            publisher = node.publisher(kind, camera.topic, qos.IMAGE)
            picture = MovingPicture(*camera.source_size)
            node.timer(1.0 / camera.rate_hz, partial(self._film, camera, publisher, picture))

    def _film(self, camera: Camera, publisher: Any, picture: MovingPicture) -> None:
        node = self._node
        if not node.active:
            return
        frame_id = f"{camera.name}_optical_frame"
        if camera.transport == "raw":
            publisher.publish(rgb_message(picture.next(), node.now_ns(), frame_id))
            return
        _, jpeg = cv2.imencode(".jpg", picture.next())
        data = array.array("B", jpeg.tobytes())
        publisher.publish(CompressedImage(header=header(node.now_ns(), frame_id), format="jpeg", data=data))
