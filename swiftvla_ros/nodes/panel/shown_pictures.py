# SPDX-License-Identifier: Apache-2.0
"""The cameras that the operator's page shows: their drivers' pictures as JPEGs, only while somebody looks."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import simplejpeg
from sensor_msgs.msg import CompressedImage, Image

from swiftvla_ros.contract import Camera
from swiftvla_ros.nodes.panel.quiet_entities import FetchedTopic
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.observation.image_decoding import ImageDecodingError, rgb_of
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.panel.exchange import Exchange
from swiftvla_ros.panel.topic_rates import TopicRate

# Pictures are shown at most so often, and no larger: a page on a phone's network is watched, not measured.
_FRAME_S = 1.0 / 15.0
_WIDEST = 640
_JPEG_QUALITY = 75
_LARGEST_JPEG = 4 << 20


class ShownPictures:
    """Hands the drivers' pictures to the exchange; all in the executor's thread."""

    def __init__(self, node: ManagedNode[Any], exchange: Exchange) -> None:
        self._node, self._exchange = node, exchange
        self._drivers: dict[str, FetchedTopic] = {}
        self._conditioned: list[FetchedTopic] = []
        self._framed_s: dict[str, float] = {}
        self._unseen: dict[str, str] = {}
        self._undecoded: dict[str, str] = {}

    @property
    def problems(self) -> dict[str, str]:
        """Camera → why its picture can't be shown, or isn't seen by the policy."""
        return {**self._undecoded, **self._unseen}

    def unseen(self, camera: str, why: str) -> None:
        """Take note of why the policy doesn't see a camera's pictures; empty where it does."""
        self._unseen.pop(camera, None)
        if why:
            self._unseen[camera] = why

    @property
    def rates(self) -> list[TopicRate]:
        """How often the drivers speak, and what conditions their pictures for the policy."""
        return [topic.rate for topic in (*self._drivers.values(), *self._conditioned)]

    def watch(self, watched: bool) -> None:
        """Subscribe to the pictures, or let go of them."""
        for topic in (*self._drivers.values(), *self._conditioned):
            topic.close()
        self._drivers.clear()
        self._conditioned.clear()
        for camera in self._node.contract.cameras if watched else ():
            kind = Image if camera.transport == "raw" else CompressedImage
            self._drivers[camera.name] = self._open(kind, camera.topic, camera)
            self._conditioned.append(self._open(Image, f"observation/{camera.name}", camera))

    def _open(self, kind: type, topic: str, camera: Camera) -> FetchedTopic:
        return FetchedTopic(self._node, kind, topic, qos.CAMERA_INPUT, camera.rate_hz)

    def fetch(self, now_s: float) -> None:
        """Show the drivers' newest pictures; those that come too soon after the last ones stay where they are."""
        for camera, topic in self._drivers.items():
            # A little early is in time: pictures come now earlier, now later.
            if now_s - self._framed_s.get(camera, 0.0) < 0.8 * _FRAME_S:
                continue
            if (message := topic.newest(now_s)) is not None:
                self._framed_s[camera] = now_s
                self._show(camera, message)

    def count(self, now_s: float) -> None:
        """Take note of the conditioned pictures that came."""
        for topic in self._conditioned:
            topic.fetch(now_s)

    def _show(self, camera: str, message: Any) -> None:
        self._undecoded.pop(camera, None)
        try:
            jpeg = _jpeg_of(message)
        except ImageDecodingError as error:
            self._undecoded[camera] = str(error)
            return
        self._exchange.put_frame(camera, jpeg, stamp_ns(message.header.stamp) / 1e9)


def _jpeg_of(message: Any) -> bytes:
    """A driver's picture for a page: its JPEG as it came, else encoded here."""
    if hasattr(message, "format") and bytes(message.data[:2]) == b"\xff\xd8" and len(message.data) <= _LARGEST_JPEG:
        return bytes(message.data)
    rgb = rgb_of(message)
    if rgb.shape[1] > _WIDEST:
        size = _WIDEST, max(1, round(rgb.shape[0] * _WIDEST / rgb.shape[1]))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=_JPEG_QUALITY, colorsubsampling="420"))
