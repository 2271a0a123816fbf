# SPDX-License-Identifier: Apache-2.0
"""The page's server over real sockets, without ROS: who is let in, who may order what, and what is too much."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install '.[panel]'")

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError
from aiohttp.test_utils import TestServer

from swiftvla_ros.panel.access import Access, PageAddress
from swiftvla_ros.panel.exchange import Exchange
from swiftvla_ros.panel.server import PageServer

TOKEN = "t0k3n-" + "x" * 40
HOSTILE = "<img src=x onerror=alert(1)></script>\u202e"


class Bench:
    """A server on a free port, and a client without cookies of its own."""

    def __init__(self, server: TestServer, exchange: Exchange, session: ClientSession) -> None:
        self.exchange, self.session = exchange, session
        self.url = f"http://127.0.0.1:{server.port}"
        self.origin = {"Origin": self.url}

    async def open(self, key: str = "", **headers: str) -> ClientWebSocketResponse:
        """Open a page's socket and say hello."""
        socket = await self.session.ws_connect(f"{self.url}/socket", headers={**self.origin, **headers})
        await socket.send_json({"do": "join", "key": key})
        return socket

    async def order(self, socket: ClientWebSocketResponse, **message: object) -> dict:
        """Send a message and return its answer."""
        await socket.send_json({"id": 7, **message})
        return await self.until(socket, lambda m: m["t"] == "answer")

    async def until(self, socket: ClientWebSocketResponse, wanted: Callable[[dict], bool]) -> dict:
        """Read until a message is there, answering what comes meanwhile as a page does."""
        for _ in range(100):
            got = await socket.receive(timeout=5)
            assert got.type is WSMsgType.TEXT, got
            message = json.loads(got.data)
            if message["t"] == "state":
                await socket.send_json({"do": "alive", "n": message["n"]})
            if wanted(message):
                return message
        pytest.fail("it never came")


def serve(test: Callable[[Bench], Awaitable[None]], token: str = "", address: str = "127.0.0.1:0") -> None:
    """Run a test against a server."""

    async def run() -> None:
        exchange = Exchange()
        page = PageServer(exchange, Access(PageAddress.parse(address), token), ["front"])
        async with TestServer(page.application()) as server, ClientSession() as session:
            await test(Bench(server, exchange, session))

    asyncio.run(run())


def carry_out(exchange: Exchange) -> list[str]:
    """Answer each order at once, as a node would; return what was ordered."""
    done = []

    def wake() -> None:
        while (waiting := exchange.take_order()) is not None:
            done.append(waiting[0].name)
            waiting[1].set_result((True, f"done: {HOSTILE}"))

    exchange.wake = wake
    return done


def test_everything_it_serves_is_its_own_and_locked_down():
    """No file asks for another site, and every answer, errors too, bears the policy."""

    async def test(bench: Bench) -> None:
        for path in ("/", "/page/panel.js", "/page/panel.css", "/nothing", "/page/../server.py"):
            answer = await bench.session.get(bench.url + path)
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            text = await answer.text()
            assert "://" not in text.replace("${scheme}://${location.host}", "")
            assert " onclick=" not in text
            assert ".innerHTML" not in text

    serve(test)


def test_without_the_token_nothing_is_seen():
    """No page, no script and no socket; a wrong token is asked for again, the right one goes into a cookie."""

    async def test(bench: Bench) -> None:
        get = bench.session.get
        assert "Token" in await (await get(f"{bench.url}/")).text()
        assert (await get(f"{bench.url}/page/panel.js")).status == 404
        with pytest.raises(WSServerHandshakeError, match="401"):
            await bench.open()
        assert (await get(f"{bench.url}/?token=wrong", allow_redirects=False)).status == 401
        entered = await get(f"{bench.url}/?token={TOKEN}", allow_redirects=False)
        assert (entered.status, entered.headers["Location"]) == (303, "/")
        cookie = entered.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        bench.session.cookie_jar.clear()
        # aiohttp's client keeps no cookies of a number's host: give it as a browser would.
        bench.origin["Cookie"] = cookie.split(";")[0]
        socket = await bench.open()
        assert (await bench.until(socket, lambda m: m["t"] == "welcome"))["name"].startswith("operator 1")

    serve(test, token=TOKEN)


def test_a_wrong_token_of_the_form_is_refused_and_another_site_is_not_heard():
    """The form needs the page's own origin, and the token."""

    async def test(bench: Bench) -> None:
        post = bench.session.post
        enter = f"{bench.url}/enter"
        assert (await post(enter, data={"token": TOKEN}, headers={"Origin": "http://evil.example"})).status == 403
        assert (await post(enter, data={"token": "wrong"}, headers=bench.origin)).status == 401
        right = await post(enter, data={"token": TOKEN}, headers=bench.origin, allow_redirects=False)
        assert right.status == 303
        assert (await post(enter, data={"token": "x" * 100_000}, headers=bench.origin)).status == 413

    serve(test, token=TOKEN)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 421),
    ],
)
def test_another_sites_script_gets_no_socket(headers, status):
    """Neither across sites nor by a name that was turned to this machine's address (DNS rebinding)."""

    async def test(bench: Bench) -> None:
        with pytest.raises(WSServerHandshakeError, match=str(status)):
            await bench.open(**headers)

    serve(test)


def test_one_page_holds_the_controls_and_every_page_may_stop():
    """A second page watches, asks and takes over when the first gives; its emergency stop works all the while."""

    async def test(bench: Bench) -> None:
        done = carry_out(bench.exchange)
        first, second = await bench.open(), await bench.open()
        assert not (await bench.order(first, do="start"))["ok"], "nobody holds the controls yet"
        assert (await bench.order(first, do="take_controls"))["ok"]
        assert (await bench.order(first, do="start"))["ok"]
        assert not (await bench.order(second, do="start"))["ok"]
        assert (await bench.order(second, do="emergency_stop"))["ok"]
        assert not (await bench.order(second, do="take_controls"))["ok"], "it is asked for"
        asked = await bench.until(first, lambda m: m["t"] == "state" and m["you"]["asking"])
        assert asked["you"]["asking"][0].startswith("operator 2")
        assert (await bench.order(first, do="give_controls"))["ok"]
        assert (await bench.order(second, do="stop"))["ok"]
        assert done == ["start", "emergency_stop", "stop"]

    serve(test)


def test_texts_go_through_as_they_are():
    """HTML in instructions, answers and reasons stays text of JSON; the page puts it in as text."""

    async def test(bench: Bench) -> None:
        orders = []

        def wake() -> None:
            while (waiting := bench.exchange.take_order()) is not None:
                orders.append(waiting[0].text)
                waiting[1].set_result((True, HOSTILE))

        bench.exchange.wake = wake
        bench.exchange.show("executor", {"reason": HOSTILE, "row": float("nan")})
        socket = await bench.open()
        state = await bench.until(socket, lambda m: m["t"] == "state")
        assert state["sections"]["executor"] == {"reason": HOSTILE, "row": None}
        await bench.order(socket, do="take_controls")
        assert (await bench.order(socket, do="instruct", text=HOSTILE))["text"] == HOSTILE
        assert orders == [HOSTILE]

    serve(test)


@pytest.mark.parametrize(
    "message",
    [
        {"do": "format_disk"},
        {"do": "instruct", "text": "x" * 257},
        {"do": "instruct", "text": "line\nbreak"},
        {"do": "instruct", "text": ["list"]},
        {"do": "speed", "number": 101},
        {"do": "speed", "number": "fast"},
        {"do": "speed", "number": True},
        {"do": ["stop"]},
        {"do": "start", "id": {"a": 1}},
    ],
    ids=lambda message: json.dumps(message)[:40],
)
def test_what_is_no_order_is_refused(message):
    """A page that sends nonsense gets a sentence, and the node nothing but what an order may hold."""

    async def test(bench: Bench) -> None:
        done = carry_out(bench.exchange)
        socket = await bench.open()
        await bench.order(socket, do="take_controls")
        answer = await bench.order(socket, **message)
        assert answer["ok"] is (message["do"] == "start")
        assert done == (["start"] if answer["ok"] else [])

    serve(test)


@pytest.mark.parametrize("flood", ["x" * 5000, "not JSON, and many"])
def test_floods_end_the_connection(flood):
    """Messages that are too long or too many close their page's socket, and nothing else."""

    async def test(bench: Bench) -> None:
        other, socket = await bench.open(), await bench.open()
        for _ in range(1 if len(flood) > 4096 else 400):
            if socket.closed:
                break
            await socket.send_str(flood)
        while (got := await socket.receive(timeout=5)).type in (WSMsgType.TEXT, WSMsgType.BINARY):
            pass
        assert got.data in (1008, 1009)
        assert (await bench.order(other, do="take_controls"))["ok"]

    serve(test)


def test_frames_are_the_newest_and_a_page_that_does_not_answer_gets_none():
    """Of many pictures the last arrives, with its camera and stamp; a page that is behind costs nothing."""

    async def test(bench: Bench) -> None:
        socket = await bench.open()
        await bench.until(socket, lambda m: m["t"] == "state")
        for k in range(50):
            bench.exchange.put_frames({"front": (b"\xff\xd8%d" % k, 5.0 + k)})
        got = [await socket.receive(timeout=5) for _ in range(4)]
        assert any(message.type is WSMsgType.BINARY and message.data.endswith(b"49") for message in got)
        # From here on it answers nothing, and is told of no picture after half a second.
        behind = 0
        while behind < 8:
            behind += (await socket.receive(timeout=5)).type is WSMsgType.TEXT
        bench.exchange.put_frames({"front": (b"\xff\xd8late", 99.0)})
        for _ in range(4):
            assert (await socket.receive(timeout=5)).type is WSMsgType.TEXT

    serve(test)
