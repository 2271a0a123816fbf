# SPDX-License-Identifier: Apache-2.0
"""The cameras that the operator's page shows: their drivers' pictures as JPEGs, only while somebody looks."""

from __future__ import annotations

import time
from threading import Event, Lock, Thread
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

# Pictures are shown at most so often, and no larger: a page on a phone's network is watched, not measured.
_FRAME_S = 1.0 / 15.0
# New ones are looked for so often, and those that the policy sees counted every so many looks.
_LOOK_S = 1.0 / 30.0
_LOOKS_A_COUNT = 3
_WIDEST = 640
_JPEG_QUALITY = 75
_LARGEST_JPEG = 4 << 20


class ShownPictures:
    """Hands the drivers' pictures to the exchange, from a thread of its own while somebody looks.

    The executor's thread, which carries out orders, neither waits for a picture nor wakes up for one. All methods are
    its; it destroys a topic when the pictures' thread has ended.
    """

    def __init__(self, node: ManagedNode[Any], exchange: Exchange) -> None:
        self._node, self._exchange = node, exchange
        self._drivers: dict[str, FetchedTopic] = {}
        self._conditioned: list[FetchedTopic] = []
        self._unseen: dict[str, str] = {}
        # Both threads read what one writes: rates, and why a picture can't be shown.
        self._lock = Lock()
        self._undecoded: dict[str, str] = {}
        self._thread: Thread | None = None
        self._over = Event()
        self._failure: Exception | None = None

    @property
    def problems(self) -> dict[str, str]:
        """Camera → why its picture can't be shown, or isn't seen by the policy."""
        with self._lock:
            return {**self._undecoded, **self._unseen}

    def unseen(self, camera: str, why: str) -> None:
        """Take note of why the policy doesn't see a camera's pictures; empty where it does."""
        self._unseen.pop(camera, None)
        if why:
            self._unseen[camera] = why

    def rates(self, now_s: float) -> list[dict[str, Any]]:
        """How often the drivers speak, and what conditions their pictures for the policy."""
        with self._lock:
            return [topic.rate.section(now_s) for topic in (*self._drivers.values(), *self._conditioned)]

    def watch(self, watched: bool) -> None:
        """Subscribe to the pictures, or let go of them."""
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            self._thread = None
        for topic in (*self._drivers.values(), *self._conditioned):
            topic.close()
        self._drivers.clear()
        self._conditioned.clear()
        if not watched:
            return
        for camera in self._node.contract.cameras:
            kind = Image if camera.transport == "raw" else CompressedImage
            self._drivers[camera.name] = self._open(kind, camera.topic, camera)
            self._conditioned.append(self._open(Image, f"observation/{camera.name}", camera))
        self._over.clear()
        self._thread = Thread(target=self._run, name="pictures", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the pictures' thread, where something did."""
        if self._failure is not None:
            raise self._failure

    def _open(self, kind: type, topic: str, camera: Camera) -> FetchedTopic:
        return FetchedTopic(self._node, kind, topic, qos.CAMERA_INPUT, camera.rate_hz)

    def _run(self) -> None:
        try:
            looks, due_s, shown_s = 0, time.monotonic(), dict.fromkeys(self._drivers, 0.0)
            while not self._over.wait(max(0.0, due_s - time.monotonic())):
                self._fetch(shown_s)
                if looks % _LOOKS_A_COUNT == 0:
                    self._count()
                looks += 1
                # What was missed is skipped.
                due_s = max(due_s + _LOOK_S, time.monotonic())
        except Exception as error:  # noqa: BLE001  (whatever it is, the node's own thread has to end the process)
            self._failure = error

    def _fetch(self, shown_s: dict[str, float]) -> None:
        """Show the drivers' newest pictures; those that come too soon after the last ones stay where they are."""
        shown = {}
        for camera, topic in self._drivers.items():
            now_s = time.monotonic()
            # A little early is in time: pictures come now earlier, now later.
            if now_s - shown_s[camera] < 0.8 * _FRAME_S:
                continue
            with self._lock:
                message = topic.newest(now_s)
            if message is None:
                continue
            shown_s[camera] = now_s
            jpeg = self._jpeg(camera, message)
            if jpeg is not None:
                shown[camera] = jpeg, stamp_ns(message.header.stamp) / 1e9
        if shown:
            self._exchange.put_frames(shown)

    def _count(self) -> None:
        """Take note of the conditioned pictures that came."""
        with self._lock:
            for topic in self._conditioned:
                topic.fetch(time.monotonic())

    def _jpeg(self, camera: str, message: Any) -> bytes | None:
        try:
            jpeg, why = _jpeg_of(message), ""
        except ImageDecodingError as error:
            jpeg, why = None, str(error)
        with self._lock:
            self._undecoded.pop(camera, None)
            if why:
                self._undecoded[camera] = why
        return jpeg


def _jpeg_of(message: Any) -> bytes:
    """A driver's picture for a page: its JPEG as it came, else encoded here."""
    if hasattr(message, "format") and bytes(message.data[:2]) == b"\xff\xd8" and len(message.data) <= _LARGEST_JPEG:
        return bytes(message.data)
    rgb = rgb_of(message)
    if rgb.shape[1] > _WIDEST:
        size = _WIDEST, max(1, round(rgb.shape[0] * _WIDEST / rgb.shape[1]))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=_JPEG_QUALITY, colorsubsampling="420"))
