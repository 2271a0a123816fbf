# SPDX-License-Identifier: Apache-2.0
"""What a page orders, as calls of the nodes' services."""

from __future__ import annotations

from collections.abc import Awaitable
from concurrent.futures import Future, InvalidStateError
from pathlib import Path
from typing import Any

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from std_msgs.msg import Float64
from std_srvs.srv import Trigger

from swiftvla_ros.nodes.panel.checkpoint_change import CheckpointChange
from swiftvla_ros.nodes.panel.quiet_entities import QuietClient
from swiftvla_ros.nodes.panel.shown_topics import ShownTopics
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.panel.exchange import Answer, Exchange
from swiftvla_ros.panel.orders import Order
from swiftvla_ros.panel.stop_way import StopWay
from swiftvla_ros.policy.checkpoint import CARD
from swiftvla_ros.resources import model_path
from swiftvla_ros.srv import JudgeEpisode, SetInstruction

_EXECUTOR = "trajectory_executor"
_LONGEST_CARD = 20_000
# Order → the service that is called, and who offers it.
_BUTTONS = {
    "emergency_stop": f"{_EXECUTOR}/emergency_stop",
    "start": f"{_EXECUTOR}/start",
    "stop": f"{_EXECUTOR}/stop",
    "reset": f"{_EXECUTOR}/reset",
    "check_preflight": "preflight/check",
    "save_black_box": "recorder/save",
    "demonstration_begin": "demonstration/begin",
    "demonstration_re_record": "demonstration/re_record",
    "demonstration_finish": "demonstration/finish",
}
# A person's hand goes through teleop_node, which tells the executor; the executor alone where there is none.
_HAND = {
    "take_over": ("teleop/engage", f"{_EXECUTOR}/take_over"),
    "give_back": ("teleop/release", f"{_EXECUTOR}/give_back"),
}
_START = {
    "preflight": "swiftvla up --preflight",
    "recorder": "swiftvla record --black-box FOLDER",
    "demonstration": "swiftvla demonstrate",
    _EXECUTOR: "swiftvla up",
}


class ServedOrders:
    """Serves the orders that wait in the exchange, in the executor's thread, and proves the emergency stop's way."""

    def __init__(self, node: ManagedNode[Any], exchange: Exchange, topics: ShownTopics) -> None:
        self._node, self._exchange, self._topics = node, exchange, topics
        self._clients = {name: self._client(Trigger, service) for name, service in _BUTTONS.items()}
        self._hand = {name: [self._client(Trigger, service) for service in way] for name, way in _HAND.items()}
        self._instruct = self._client(SetInstruction, "set_instruction")
        self._demonstrate = self._client(SetInstruction, "demonstration/set_instruction")
        self._judge = self._client(JudgeEpisode, "demonstration/judge")
        self._speed = node.publisher(Float64, "speed_scale", qos.LATCHED)
        self._change = CheckpointChange(node)
        self._state = self._client(GetState, f"{_EXECUTOR}/get_state")
        self._way = StopWay()
        guard = node.own(node.create_guard_condition(self._serve), node.destroy_guard_condition)
        exchange.wake = guard.trigger

    def _client(self, kind: type, name: str) -> QuietClient:
        return QuietClient(self._node, kind, name)

    def close(self) -> None:
        """Answer what still waits."""
        self._exchange.wake = lambda: None
        while (waiting := self._exchange.take_order()) is not None:
            waiting[1].set_result((False, "the page's node ends"))

    def _serve(self) -> None:
        while (waiting := self._exchange.take_order()) is not None:
            order, future = waiting
            who = self._exchange.controls.answering() or "a page without the controls"
            if order.name != "speed":
                self._node.get_logger().info(f"{who}: {order.name} {order.text}".rstrip())
            if not self._node.active:
                _answer(future, (False, "the page's node is not active; activate it first"))
            elif order.name == "speed":
                self._speed.publish(Float64(data=order.number))
                _answer(future, (True, f"speed: {order.number:.0f} %"))
            elif order.name == "read_card":
                _answer(future, read_card(order.text))
            elif order.name == "use_checkpoint":
                assert self._node.executor is not None
                self._node.executor.create_task(self._finish, self._use(order.text), future)
            else:
                self._call(order, future)

    def _call(self, order: Order, future: Future[Answer]) -> None:
        client, request = self._request(order)
        if not client.is_ready():
            start = _START.get(client.srv_name.rsplit("/", 2)[-2])
            hint = f"; start what offers it: {start}" if start else ""
            _answer(future, (False, f"no service {client.srv_name}{hint}"))
            return

        def done(called: Any) -> None:
            if called.exception() is not None:
                _answer(future, (False, f"{client.srv_name}: {called.exception()}"))
            elif (response := called.result()) is not None:
                _answer(future, (bool(response.success), str(response.message)))

        client.call(request).add_done_callback(done)

    def _request(self, order: Order) -> tuple[QuietClient, Any]:
        if order.name == "instruct":
            return self._instruct, SetInstruction.Request(instruction=order.text)
        if order.name == "demonstration_instruct":
            return self._demonstrate, SetInstruction.Request(instruction=order.text)
        if order.name == "demonstration_judge":
            return self._judge, JudgeEpisode.Request(verdict=int(order.number), note=order.text)
        if order.name in self._hand:
            person, executor = self._hand[order.name]
            return (person if person.is_ready() else executor), Trigger.Request()
        return self._clients[order.name], Trigger.Request()

    async def _use(self, path: str) -> Answer:
        """Another checkpoint; never while the arm may move, nor while nobody says whether it does."""
        tick = self._topics.tick
        if tick is None:
            return False, "the executor is silent, so nobody knows whether the arm moves; look why first"
        return await self._change.use(str(model_path(path)), tick.mode)

    async def _finish(self, doing: Awaitable[Answer], future: Future[Answer]) -> None:
        _answer(future, await doing)

    def prove(self) -> None:
        """Ask the executor for its state: an answer shows that it would serve the emergency stop, too."""
        way = self._way
        ready = self._clients["emergency_stop"].is_ready()
        if self._state.is_ready():
            asked = way.ask()
            if asked is not None:

                def answered(called: Any) -> None:
                    response = called.result() if called.exception() is None else None
                    if response is not None:
                        # Deactivated it still brakes, and its emergency stop is latched.
                        alive = response.current_state.id in (
                            State.PRIMARY_STATE_ACTIVE,
                            State.PRIMARY_STATE_INACTIVE,
                        )
                        way.answered(asked, configured=alive)

                self._state.call(GetState.Request()).add_done_callback(answered)
        self._exchange.show("stop_way", way.section(ready=ready, speaks=self._topics.tick is not None))


def _answer(future: Future[Answer], answer: Answer) -> None:
    try:
        future.set_result(answer)
    except InvalidStateError:
        return  # its page is gone


def read_card(text: str) -> Answer:
    """A checkpoint's card; refused where the folder is none, so that no other file can be read."""
    folder: Path = model_path(text)
    try:
        if not (folder / "config.json").is_file():
            return False, f"{folder}: no checkpoint's folder; it holds config.json, stats.json and weights"
        return True, (folder / CARD).read_text(encoding="utf-8", errors="replace")[:_LONGEST_CARD]
    except FileNotFoundError:
        return False, f"{folder}: has no {CARD}"
    except OSError as error:
        return False, f"{folder}: {error.strerror}"
