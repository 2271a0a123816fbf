# SPDX-License-Identifier: Apache-2.0
"""The operator's page: what the graph says out to browsers, what an operator orders in.

The executor's thread takes messages and calls services; pictures are taken in a thread of theirs, and the page's server
runs in a third. Between them is the :class:`~swiftvla_ros.panel.exchange.Exchange`, and none waits for another.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftvla_ros.extras import need
from swiftvla_ros.msg import OperatorHeartbeat
from swiftvla_ros.nodes.panel.served_orders import ServedOrders
from swiftvla_ros.nodes.panel.shown_topics import ShownTopics
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.diagnostics import Health, Level, publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import header
from swiftvla_ros.panel.access import Access, PageAddress, new_token, read_token
from swiftvla_ros.panel.exchange import Exchange

if TYPE_CHECKING:
    from swiftvla_ros.panel.server import PageServer

# Of the looks, which come ten times a second: a heartbeat every second one, a question to the executor every third.
_LOOKS_A_BEAT, _LOOKS_A_PROOF = 2, 3


@dataclass(frozen=True)
class PanelParts:
    """The page's server, both sides of the exchange, and the number of the next look at it."""

    exchange: Exchange
    topics: ShownTopics
    orders: ServedOrders
    server: PageServer
    heartbeats: Any
    url: str
    looks: Iterator[int] = field(default_factory=partial(itertools.count, 1))


class PanelNode(ManagedNode[PanelParts]):
    """Shows the system to browsers and lets one of them command it."""

    def __init__(self) -> None:
        super().__init__("panel")
        self.describe("address", "127.0.0.1:8710", "where the page is served, IP:PORT; with a token beyond loopback")
        self.describe("token_file", "", "file (mode 600) whose token a page must show; empty: one is made and printed")

    def setup(self) -> PanelParts:
        """Open topics, and listen for browsers."""
        need("aiohttp")
        from swiftvla_ros.panel.server import PageServer

        address, file = PageAddress.parse(str(self.value("address"))), str(self.value("token_file"))
        token = read_token(Path(file)) if file else "" if address.is_loopback else new_token()
        exchange = Exchange()
        server = PageServer(exchange, Access(address, token), list(self.contract.camera_names))
        try:
            port = server.start()
        except OSError as error:
            raise OSError(f"panel address {address.host}:{address.port}: {error}; choose another port") from error
        url = address.url(port)
        shown = f"{url}?token={token}" if token and not file else url
        # Not logged: what is logged is on /rosout, and in bags.
        print(f"the operator's page: {shown}", flush=True)
        topics = ShownTopics(self, exchange, self._looked)
        orders = ServedOrders(self, exchange, topics)
        publish_diagnostics(self, self._health)
        heartbeats = self.publisher(OperatorHeartbeat, "operator_heartbeat", qos.COMMAND)
        return PanelParts(exchange, topics, orders, server, heartbeats, url)

    def teardown(self, parts: PanelParts) -> None:
        """Close the pages; the controls are nobody's."""
        parts.server.stop()
        parts.orders.close()
        parts.topics.close()

    def _looked(self) -> None:
        looks = next(self.parts.looks)
        if looks % _LOOKS_A_BEAT == 0:
            self._beat()
        if looks % _LOOKS_A_PROOF == 0:
            self.parts.orders.prove()

    def _beat(self) -> None:
        """Say that somebody holds the controls, while their page answers."""
        if not self.active:
            return
        holder = self.parts.exchange.controls.answering()
        if holder:
            self.parts.heartbeats.publish(OperatorHeartbeat(header=header(self.now_ns()), holder=holder))

    def _health(self) -> Health:
        exchange = self.parts.exchange
        holder = exchange.controls.answering() or "nobody"
        values = {"pages": exchange.watchers, "controls": holder, "address": self.parts.url}
        return Health(Level.OK, f"{exchange.watchers} pages are open; the controls: {holder}", values)


main = script_of(PanelNode)

if __name__ == "__main__":
    main()
