# SPDX-License-Identifier: Apache-2.0
"""What the ROS side and the page's server hand each other. Neither waits for the other."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock
from typing import Any

from swiftvla_ros.panel.controls import Controls
from swiftvla_ros.panel.orders import Order

Answer = tuple[bool, str]
"""Whether an order was carried out, and a sentence."""

# Longer texts are cut: a page is no log.
_LONGEST = 20_000
# More orders than this wait only where nobody serves them any more.
_MOST_ORDERS = 64


@dataclass(frozen=True)
class JpegFrame:
    """One camera's newest picture: a JPEG, its stamp (s), and how many there were."""

    jpeg: bytes
    stamp_s: float
    number: int


class Exchange:
    """Newest content of each section of the page, newest frame of each camera, and orders; from any thread.

    ``wake`` is called by the server's thread when an order waits, ``notify`` by the ROS side when frames came; the
    other side sets what they do.
    """

    def __init__(self) -> None:
        self.controls = Controls()
        self.wake: Callable[[], object] = lambda: None
        self.notify: Callable[[], object] = lambda: None
        self._lock = Lock()
        self._sections: dict[str, tuple[int, str]] = {}
        self._version = 0
        self._frames: dict[str, JpegFrame] = {}
        self._orders: deque[tuple[Order, Future[Answer]]] = deque()
        self._watchers = 0
        self._served_s = time.monotonic()

    def serves(self) -> None:
        """The ROS side says that it goes on."""
        self._served_s = time.monotonic()

    @property
    def silent_s(self) -> float:
        """How long the ROS side has said nothing, s."""
        return time.monotonic() - self._served_s

    @property
    def watchers(self) -> int:
        """How many pages are open."""
        return self._watchers

    def watch(self, change: int) -> None:
        """Count a page that was opened (1) or closed (-1)."""
        with self._lock:
            self._watchers += change

    def show(self, section: str, content: Any) -> None:
        """Have a section of the page show this from now on."""
        text = json.dumps(plain(content), ensure_ascii=False, separators=(",", ":"))
        with self._lock:
            if self._sections.get(section, (0, ""))[1] != text:
                self._version += 1
                self._sections[section] = (self._version, text)

    def since(self, version: int) -> tuple[int, dict[str, str]]:
        """The sections, as JSON, that changed since a version; and the present version."""
        with self._lock:
            return self._version, {name: text for name, (at, text) in self._sections.items() if at > version}

    def put_frames(self, pictures: Mapping[str, tuple[bytes, float]]) -> None:
        """Have cameras' pictures shown, each a JPEG and its stamp (s); one that was not sent yet is dropped for it."""
        with self._lock:
            for camera, (jpeg, stamp_s) in pictures.items():
                last = self._frames.get(camera)
                self._frames[camera] = JpegFrame(jpeg, stamp_s, last.number + 1 if last else 1)
        self.notify()

    def frames(self) -> Mapping[str, JpegFrame]:
        """The newest frame of each camera."""
        with self._lock:
            return dict(self._frames)

    def ask(self, order: Order) -> Future[Answer]:
        """Give the ROS side an order; its answer comes in the future."""
        future: Future[Answer] = Future()
        with self._lock:
            full = len(self._orders) >= _MOST_ORDERS
            if not full:
                self._orders.append((order, future))
        if full:
            future.set_result((False, "the node behind this page does not serve; use the robot's own stop"))
        else:
            self.wake()
        return future

    def take_order(self) -> tuple[Order, Future[Answer]] | None:
        """The next order, emergency stops first; None without."""
        with self._lock:
            for each in self._orders:
                if each[0].name == "emergency_stop":
                    self._orders.remove(each)
                    return each
            return self._orders.popleft() if self._orders else None


def plain(content: Any) -> Any:
    """The same as JSON can hold it: numbers that are not finite become null, digits nobody sees and long texts go."""
    kind = type(content)
    # Nearly all is one of these; asking for a Mapping takes longer than all the rest.
    if kind is float or isinstance(content, float):
        return round(content, 5) if math.isfinite(content) else None
    if kind is list:
        return [plain(value) for value in content]
    if kind is not dict:
        if content is None or isinstance(content, int):
            return content
        if isinstance(content, str):
            return content if len(content) <= _LONGEST else f"{content[:_LONGEST]} …"
        if hasattr(content, "tolist"):
            return plain(content.tolist())
        if not isinstance(content, Mapping):
            return [plain(value) for value in content]
    return {str(key): plain(value) for key, value in content.items()}
