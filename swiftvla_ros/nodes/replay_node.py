# SPDX-License-Identifier: Apache-2.0
"""Plays a bag's sensors into the graph, with the recording's time on /clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.bags.namespaces import held_namespace
from swiftvla_ros.episodes.datasets.bag_folders import the_bag
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import message_class, to_time
from swiftvla_ros.nodes.ros.parameters import Allowed
from swiftvla_ros.replay.player import AUTO, Played, played_topics, published_name, schedule

_CLOCK_TOPIC = "/clock"
# Discovery takes 0.1 s, and rarely some seconds.
_LOOK_FOR_DRIVERS_S = 2.0
_WATCH_S = 0.5
_POLL_S = 0.05


@dataclass
class ReplayParts:
    """What is played: the bag's own topics and types, the publishers by published topic, and how fast.

    ``thread`` plays while the node is active, ``failure`` says why it ended.
    """

    bag: Bag
    stored: dict[str, str]
    rate: float
    clock_period_ns: int
    clock: Any
    outputs: dict[str, Any]
    thread: threading.Thread | None = None
    failure: str = ""

    def publish(self, item: Played) -> None:
        """Publish a message, and the time that it is played at."""
        self.clock.publish(Clock(clock=to_time(item.at_ns)))
        if item.topic is not None:
            self.outputs[item.topic].publish(item.data)


class ReplayNode(ManagedNode[ReplayParts]):
    """Publishes serialized messages as recorded, in a thread of its own; the executor's thread watches for drivers.

    It runs on the system's clock, as the recording's is its own making. Two sources of one sensor would feed a policy
    pictures of two worlds, so where somebody else publishes on a topic that is to be played it does not start, and
    stops as soon as somebody does.
    """

    def __init__(self) -> None:
        super().__init__("replay")
        self.describe("bag", "", "folder of the bag to play")
        self.describe("namespace", "", "of a bag with several robots: the namespace of the one to play; / is the root")
        self.describe("rate", 1.0, "how many times as fast as recorded", Allowed(above=0))
        self.describe("loop", False, "play again and again; the clock jumps back each time")
        self.describe("sensors", AUTO, "raw (the drivers' topics), conditioned (observation/*) or auto")
        self.describe(
            "clock_hz", 200.0, "least rate of /clock, in messages per second of the recording", Allowed(above=0)
        )
        self.describe(
            "wait_s", 10.0, "how long to wait for a subscriber of every topic before playing", Allowed(least=0)
        )
        # From read_contract to setup, whose parts keep it.
        self._opened: Bag | None = None
        self._ending = threading.Event()

    def setup(self) -> ReplayParts:
        """Open the bag, and look whether anybody publishes already."""
        bag, self._opened = self._opened, None
        assert bag is not None, "read_contract opens it"
        rate, clock_hz = float(self.value("rate")), float(self.value("clock_hz"))
        stored = played_topics(bag, self.contract, str(self.value("sensors")))
        topics = {published_name(topic, msgtype): message_class(msgtype) for topic, msgtype in stored.items()}
        deadline = time.monotonic() + _LOOK_FOR_DRIVERS_S
        while time.monotonic() < deadline:
            if others := self._others(topics, 0):
                raise ValueError(f"{others}; two sources of one sensor: end it, or use another ROS_DOMAIN_ID")
            self._ending.wait(_POLL_S)
        self.timer(_WATCH_S, self._watch)
        return ReplayParts(
            bag,
            stored,
            rate,
            round(1e9 / clock_hz),
            self.publisher(Clock, _CLOCK_TOPIC, qos.CLOCK),
            {t: self.publisher(kind, t, qos.STATE if kind is JointState else qos.IMAGE) for t, kind in topics.items()},
        )

    def start(self) -> None:
        """Play from the beginning."""
        self._ending.clear()
        self.parts.failure = ""
        self.parts.thread = threading.Thread(target=self._run, args=[self.parts], name="replay", daemon=True)
        self.parts.thread.start()

    def stop(self) -> None:
        """Publish no more."""
        if self._parts is not None and self._parts.thread is not None:
            self._ending.set()
            self._parts.thread.join()
            self._parts.thread = None

    def read_contract(self) -> Contract:
        """Open the bag: it brings its contract, where none is named."""
        folder = str(self.value("bag"))
        if not folder:
            raise ValueError("parameter bag is empty; write the folder of a bag")
        robot = str(self.value("robot"))
        contract = load_contract(robot) if robot else None
        bag = Bag(the_bag(Path(folder)), contract)
        namespace = held_namespace(bag.namespaces, str(self.value("namespace")))
        self._opened = Bag(bag.path, contract, namespace=namespace)
        return contract or self._opened.contract

    def _run(self, parts: ReplayParts) -> None:
        """The thread."""
        try:
            self._play(parts)
        except BagError as error:
            parts.failure = str(error)

    def _play(self, parts: ReplayParts) -> None:
        """Wait for listeners, then publish every message at its time."""
        while not self._ending.is_set():
            messages = schedule(parts.bag, parts.stored, parts.clock_period_ns)
            first = next(messages, None)
            if first is None:
                return
            self._await_subscribers(parts, first)
            began, count = time.monotonic(), 0
            for item in messages:
                ahead_s = began + (item.at_ns - first.at_ns) / 1e9 / parts.rate - time.monotonic()
                if self._ending.wait(ahead_s) if ahead_s > 0 else self._ending.is_set():
                    return
                parts.publish(item)
                count += item.topic is not None
            self.get_logger().info(f"played {count} messages of {', '.join(parts.outputs)}")
            if not self.value("loop"):
                return

    def _await_subscribers(self, parts: ReplayParts, first: Played) -> None:
        """Wait until every topic is listened to; the clock stands at the first message's time meanwhile."""
        deadline = time.monotonic() + float(self.value("wait_s"))
        while unheard := [t for t, p in parts.outputs.items() if not p.get_subscription_count()]:
            parts.publish(first)
            if time.monotonic() > deadline:
                self.get_logger().warning(f"nobody listens to {', '.join(unheard)}; playing all the same")
                return
            if self._ending.wait(_POLL_S):
                return

    def _watch(self) -> None:
        """End when all is played, or somebody else begins to publish."""
        parts = self.parts
        if others := self._others(parts.outputs, 1):
            self.get_logger().fatal(f"{others}; playing is stopped")
            raise SystemExit(1)
        if self.active and parts.thread is not None and not parts.thread.is_alive():
            if parts.failure:
                self.get_logger().fatal(parts.failure)
            raise SystemExit(1 if parts.failure else 0)

    def _others(self, topics: Iterable[str], own: int) -> str:
        """Name who else publishes on what is played; ``own`` of the publishers of each topic are this node's."""
        for topic in [*topics, _CLOCK_TOPIC]:
            publishers = self.get_publishers_info_by_topic(topic)
            if len(publishers) > own:
                names = sorted({p.node_name for p in publishers} - {self.get_name()})
                return f"{topic} is published by {', '.join(names) or 'another replay'} already"
        return ""


main = script_of(ReplayNode)

if __name__ == "__main__":
    main()
