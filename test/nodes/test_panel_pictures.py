# SPDX-License-Identifier: Apache-2.0
"""The pictures of the operator's page, as a page without a screen gets them: its socket alone."""

import asyncio
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
import simplejpeg
from operators_page import served
from sensor_msgs.msg import Image

from swiftvla_ros.contract import load_contract
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import rgb_message

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install '.[panel]'")

CONTRACT = load_contract("so101_sim")
HEADER = struct.Struct("<Bd")
COLOURS = {"front": (200, 40, 40), "wrist": (40, 40, 200)}


class Drivers:
    """Both cameras, of one colour each, ten pictures a second; ``unshown`` send depths instead."""

    def __init__(self, node: Any) -> None:
        self.unshown: set[str] = set()
        self._node, self._ns = node, 0
        self._publishers = {c.name: node.create_publisher(Image, c.topic, qos.IMAGE) for c in CONTRACT.cameras}
        node.create_timer(0.1, self._send)

    def _send(self) -> None:
        self._ns += 1_000_000_000
        for name, publisher in self._publishers.items():
            message = rgb_message(np.full((48, 64, 3), COLOURS[name], np.uint8), self._ns, name)
            message.encoding = "16UC1" if name in self.unshown else "rgb8"
            publisher.publish(message)


class Watcher:
    """What came to a page: each camera's newest stamp (s) and JPEG, by its number, and the newest sections."""

    def __init__(self) -> None:
        self.frames: dict[int, tuple[float, bytes]] = {}
        self.sections: dict[str, Any] = {}

    async def watch(self, url: str) -> None:
        """Take what is sent, and answer as a page does."""
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{url}socket", headers={"Origin": url.rstrip("/")}) as socket,
        ):
            await socket.send_json({"do": "join", "key": ""})
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    number, stamp_s = HEADER.unpack_from(message.data)
                    self.frames[number] = stamp_s, message.data[HEADER.size :]
                elif (told := message.json())["t"] == "state":
                    self.sections |= told["sections"]
                    await socket.send_json({"do": "alive", "n": told["n"]})


@contextmanager
def watching(url: str) -> Iterator[Watcher]:
    """A page that is open."""
    watcher, loop = Watcher(), asyncio.new_event_loop()
    task = loop.create_task(watcher.watch(url))

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield watcher
    loop.call_soon_threadsafe(task.cancel)
    thread.join()
    loop.close()


def test_a_page_sees_what_its_cameras_send_and_nobody_hears_them_without_one(graph: Any) -> None:
    """Each camera's pictures come under its number, newer and newer, or why not; without a page nobody hears them."""
    drivers = Drivers(graph.node)
    panel, url = served(graph)

    def problem(page: Watcher) -> str:
        return str(page.sections["problems"].get("wrist", ""))

    def heard() -> int:
        return sum(graph.node.count_subscribers(camera.topic) for camera in CONTRACT.cameras)

    for _ in range(2):
        graph.wait_until(lambda: not heard(), "no picture is heard without a page")
        with watching(url) as page:
            graph.wait_until(lambda page=page: set(page.frames) == {0, 1}, "both cameras are shown")
            for number, camera in enumerate(CONTRACT.camera_names):
                first_s, jpeg = page.frames[number]
                shown = simplejpeg.decode_jpeg(jpeg)
                assert shown.shape == (48, 64, 3)
                assert np.abs(shown.mean((0, 1)) - COLOURS[camera]).max() < 8
                assert first_s == round(first_s), "the driver's stamp"
                graph.wait_until(lambda n=number, s=first_s, page=page: page.frames[n][0] > s, "the next picture")

            drivers.unshown.add("wrist")
            graph.wait_until(lambda page=page: "16UC1" in problem(page), "why it isn't shown")
            drivers.unshown.clear()
            graph.wait_until(lambda page=page: not problem(page), "it is shown again")
    assert panel.end() == 0
