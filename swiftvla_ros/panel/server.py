# SPDX-License-Identifier: Apache-2.0
"""The server of the operator's page: static files, the token, and one socket for each page, in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from importlib import resources
from threading import Thread

from aiohttp import web

from swiftvla_ros.panel.access import Access
from swiftvla_ros.panel.connection import PageConnection
from swiftvla_ros.panel.exchange import Exchange
from swiftvla_ros.panel.orders import MAX_MESSAGE_BYTES, OrderError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_MOST_PAGES = 16
# Whoever shows a wrong token waits, and the others of them behind it.
_WRONG_TOKEN_S = 0.5
_START_S = 10.0
# Beyond this a page is waited for, and what came meanwhile is dropped for what came last.
_UNSENT_BYTES = 1 << 16
_HEADERS = {
    # Nothing but this server's own files; pictures come through the socket as bytes.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with it a browser says "Origin: null" of this page's own form, and the token is refused.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class PageServer:
    """Serves the page from ``start`` to ``stop``; everything else runs in its thread."""

    def __init__(self, exchange: Exchange, access: Access, cameras: list[str]) -> None:
        self._exchange, self._access, self._cameras = exchange, access, cameras
        page = resources.files("swiftvla_ros.panel") / "page"
        self._files = {file.name: file.read_bytes() for file in page.iterdir() if file.is_file()}
        self._pages: set[PageConnection] = set()
        self._wrong = asyncio.Lock()
        self._cookie = "swiftvla_panel"
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> int:
        """Listen and return the port; OSError where the address can't be taken."""
        listening: Future[int] = Future()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run, args=(self._loop, listening), name="panel", daemon=True)
        self._thread.start()
        return listening.result(_START_S)

    def stop(self) -> None:
        """Close every page and end the thread; may be called twice."""
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            with suppress(RuntimeError):  # it has just ended by itself
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_START_S)

    def application(self) -> web.Application:
        """The application, for a runner of its own."""
        app = web.Application(middlewares=[self._admit], client_max_size=MAX_MESSAGE_BYTES)
        app.on_response_prepare.append(_add_headers)
        app.on_startup.append(self._open)
        app.on_shutdown.append(self._close)
        app.add_routes(
            [
                web.get("/", self._serve_page),
                web.post("/enter", self._enter),
                web.get("/page/{name}", self._serve_file),
                web.get("/socket", self._serve_socket),
            ]
        )
        return app

    async def _open(self, _app: web.Application) -> None:
        self._loop = asyncio.get_running_loop()
        self._exchange.notify = self._notify

    async def _close(self, _app: web.Application) -> None:
        self._exchange.notify = lambda: None
        await asyncio.gather(*(page.close() for page in self._pages))

    def _run(self, loop: asyncio.AbstractEventLoop, listening: Future[int]) -> None:
        asyncio.set_event_loop(loop)
        address = self._access.address
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=1.0)

        async def listen() -> int:
            await runner.setup()
            site = web.TCPSite(runner, address.host, address.port)
            await site.start()
            port = int(runner.addresses[0][1])
            # Cookies don't know ports: two panels of one machine would throw each other out.
            self._cookie = f"swiftvla_panel_{port}"
            return port

        try:
            listening.set_result(loop.run_until_complete(listen()))
        except OSError as error:
            listening.set_exception(error)
        else:
            loop.run_forever()
        finally:
            loop.run_until_complete(runner.cleanup())
            loop.close()

    def _notify(self) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop was just closed
            self._loop.call_soon_threadsafe(self._fresh_frame)

    def _fresh_frame(self) -> None:
        for page in self._pages:
            page.fresh_frame.set()

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._access.host_is_ours(request.host):
            raise web.HTTPMisdirectedRequest(
                text=f"{request.host} is not this machine's name: write its IP address into the browser\n"
            )
        return await handler(request)

    def _is_known(self, request: web.Request) -> bool:
        return self._access.knows(request.cookies.get(self._cookie, ""))

    async def _serve_page(self, request: web.Request) -> web.StreamResponse:
        token = request.query.get("token")
        if token is not None:
            return await self._let_in(token)
        if not self._is_known(request):
            return self._file("enter.html", status=401)
        return self._file("index.html")

    async def _enter(self, request: web.Request) -> web.StreamResponse:
        if not self._access.origin_is_ours(request.headers.get("Origin"), request.host):
            raise web.HTTPForbidden(text="this was sent by another site\n")
        return await self._let_in(str((await request.post()).get("token", "")).strip())

    async def _let_in(self, token: str) -> web.StreamResponse:
        """Keep the right token in a cookie, and out of the URL."""
        if not self._access.knows(token):
            async with self._wrong:
                await asyncio.sleep(_WRONG_TOKEN_S)
            return self._file("enter.html", status=401)
        answer = web.Response(status=303, headers={"Location": "/"})
        if self._access.needs_token:
            answer.set_cookie(self._cookie, token, httponly=True, samesite="Strict", path="/")
        return answer

    async def _serve_file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        # Without the token, only what the page that asks for it needs.
        if name not in self._files or (name not in ("panel.css", "icon.svg") and not self._is_known(request)):
            raise web.HTTPNotFound
        return self._file(name)

    def _file(self, name: str, status: int = 200) -> web.Response:
        kind = _TYPES[name[name.rindex(".") :]]
        return web.Response(body=self._files[name], content_type=kind, charset="utf-8", status=status)

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        if not self._access.origin_is_ours(request.headers.get("Origin"), request.host):
            raise web.HTTPForbidden(text="this socket is for the page of this server\n")
        if not self._is_known(request):
            raise web.HTTPUnauthorized(text="open the page with its token first\n")
        if len(self._pages) >= _MOST_PAGES:
            raise web.HTTPServiceUnavailable(text=f"{_MOST_PAGES} pages are open already; close one\n")
        socket = web.WebSocketResponse(
            max_msg_size=MAX_MESSAGE_BYTES, compress=False, timeout=1.0, writer_limit=_UNSENT_BYTES
        )
        page = PageConnection(socket, self._exchange, self._cameras, request.remote or "?")
        self._pages.add(page)
        try:
            await socket.prepare(request)
            await page.run()
        except OrderError as error:
            await socket.close(code=1008, message=str(error).encode()[:120])
        finally:
            self._pages.discard(page)
        return socket


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
