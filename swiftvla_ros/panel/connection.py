# SPDX-License-Identifier: Apache-2.0
"""One open page: its socket, what it is sent, and what it may order. Runs in the server's loop."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web

from swiftvla_ros.panel.exchange import Answer, Exchange
from swiftvla_ros.panel.orders import OrderError, read_message, read_order

# Not wait_for: it makes a task of each sending, of which there are fifty a second.
if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

_TELL_S = 0.1
# Unanswered states, each of a tenth of a second, beyond which a page gets no pictures until it has caught up.
_BEHIND = 5
# Of messages: so many a second, and so many at once. A page answers ten times a second and drags a slider.
_RATE_HZ, _BURST = 60.0, 120.0
# A socket that takes nothing for so long is closed.
_STUCK_S = 5.0
# Orders of one page that are being carried out at once.
_MOST_RUNNING = 8
# Number of the camera, and the stamp in s, before the JPEG.
_FRAME_HEADER = struct.Struct("<Bd")


class PageConnection:
    """Sends what changed ten times a second and frames as they come, always the newest; takes answers and orders."""

    def __init__(self, socket: web.WebSocketResponse, exchange: Exchange, cameras: list[str], where: str) -> None:
        self._socket, self._exchange, self._where = socket, exchange, where
        self._numbers = {camera: number for number, camera in enumerate(cameras)}
        self.fresh_frame = asyncio.Event()
        self._key = ""
        self._sent = self._answered = 0
        self._sent_s: dict[int, float] = {}
        self._round_trip_s: float | None = None
        self._frames_sent = self._frames_dropped = 0
        self._allowance, self._allowed_s = _BURST, time.monotonic()
        self._running: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Tell the page that the server ends."""
        with suppress(ConnectionError):
            await self._socket.close(code=1001, message=b"the page's server ends")

    async def run(self) -> None:
        """Serve the page until its socket ends."""
        first = await self._socket.receive(timeout=_STUCK_S)
        if first.type is not WSMsgType.TEXT:
            return
        key = read_message(first.data).get("key", "")
        controls = self._exchange.controls
        self._key, name = controls.join(key if isinstance(key, str) else "", self._where)
        self._exchange.watch(1)
        senders = [asyncio.create_task(self._tell()), asyncio.create_task(self._send_frames())]
        try:
            with suppress(ConnectionError):
                await self._send({"t": "welcome", "key": self._key, "name": name})
                async for message in self._socket:
                    if message.type is not WSMsgType.TEXT or not self._within_rate():
                        await self._socket.close(code=1008, message=b"too fast, or not text")
                        break
                    await self._take(message.data)
        finally:
            self._exchange.watch(-1)
            controls.leave(self._key)
            for task in (*senders, *self._running):
                task.cancel()
            await asyncio.gather(*senders, *self._running, return_exceptions=True)

    async def _take(self, data: str) -> None:
        number: Any = None
        try:
            message = read_message(data)
            number = message.get("id")
            await self._obey(message)
        except OrderError as error:
            await self._send({"t": "answer", "id": _id(number), "ok": False, "text": str(error)})

    async def _obey(self, message: dict[str, Any]) -> None:
        controls, what, number = self._exchange.controls, message["do"], _id(message.get("id"))
        if what == "alive":
            self._take_answer(message.get("n"))
            return
        if what in ("take_controls", "give_controls"):
            done, text = (controls.take if what == "take_controls" else controls.give)(self._key)
            await self._send({"t": "answer", "id": number, "do": what, "ok": done, "text": text})
            return
        order = read_order(message)
        if not order.kind.anybody and not controls.holds(self._key):
            raise OrderError("take the controls first; the emergency stop works without")
        if len(self._running) >= _MOST_RUNNING and not order.kind.anybody:
            raise OrderError("wait for the answers to what you asked for before")
        task = asyncio.create_task(self._carry_out(order.name, number, self._exchange.ask(order), order.kind.timeout_s))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _carry_out(self, what: str, number: int, answer: Any, timeout_s: float) -> None:
        done: Answer
        try:
            # An order that was given is carried out, whether or not its page waits for the answer.
            done = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(answer)), timeout_s)
        except asyncio.TimeoutError:
            done = False, f"no answer within {timeout_s:g} s: it may still be carried out"
        await self._send({"t": "answer", "id": number, "do": what, "ok": done[0], "text": done[1]})

    def _take_answer(self, number: Any) -> None:
        sent_s = self._sent_s.pop(number, None) if isinstance(number, int) else None
        if sent_s is None:
            return  # nothing was sent that it could answer
        self._answered = max(self._answered, number)
        self._round_trip_s = time.monotonic() - sent_s
        for old in [n for n in self._sent_s if n < number]:
            del self._sent_s[old]
        self._exchange.controls.answered(self._key)

    def _within_rate(self) -> bool:
        now_s = time.monotonic()
        self._allowance = min(_BURST, self._allowance + (now_s - self._allowed_s) * _RATE_HZ)
        self._allowed_s = now_s
        self._allowance -= 1.0
        return self._allowance >= 0.0

    async def _tell(self) -> None:
        version = 0
        while True:
            version, changed = self._exchange.since(version)
            self._sent += 1
            if len(self._sent_s) < 100:
                self._sent_s[self._sent] = time.monotonic()
            you = {
                **self._exchange.controls.told(self._key),
                "round_trip_ms": None if self._round_trip_s is None else round(1e3 * self._round_trip_s, 1),
                "node_age_ms": round(1e3 * self._exchange.silent_s),
                "frames_dropped": self._frames_dropped,
            }
            # Sections are JSON already, made once for all pages.
            sections = ",".join(f'"{name}":{text}' for name, text in changed.items())
            await self._send({"t": "state", "n": self._sent, "you": you}, f',"sections":{{{sections}}}')
            await asyncio.sleep(_TELL_S)

    async def _send_frames(self) -> None:
        sent: dict[str, int] = {}
        while True:
            await self.fresh_frame.wait()
            self.fresh_frame.clear()
            for camera, frame in self._exchange.frames().items():
                last = sent.get(camera, frame.number - 1)
                if frame.number == last:
                    continue
                sent[camera] = frame.number
                behind = self._sent - self._answered > _BEHIND
                self._frames_dropped += frame.number - last - (not behind)
                if not behind:
                    header = _FRAME_HEADER.pack(self._numbers[camera], frame.stamp_s)
                    await self._deliver(self._socket.send_bytes(header + frame.jpeg))

    async def _send(self, message: dict[str, Any], more: str = "") -> None:
        text = json.dumps(message, ensure_ascii=False)
        await self._deliver(self._socket.send_str(f"{text[:-1]}{more}}}"))

    async def _deliver(self, sending: Any) -> None:
        """Wait until the socket has taken it; ConnectionError where a page is gone, or takes nothing for long."""
        try:
            async with timeout(_STUCK_S):
                await sending
        except asyncio.TimeoutError:
            with suppress(ConnectionError, asyncio.TimeoutError):
                await asyncio.wait_for(self._socket.close(code=1008, message=b"too slow"), 1.0)
            raise ConnectionError("the page takes nothing") from None


def _id(value: Any) -> int:
    """The number by which a page finds its answer; 0 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else 0
