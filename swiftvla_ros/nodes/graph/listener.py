# SPDX-License-Identifier: Apache-2.0
"""Listens to a running graph, without taking part in it, and tells what is there."""

from __future__ import annotations

import importlib
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

import rclpy
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import QoSCompatibility, qos_check_compatible
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.checks.ros_names import plain_namespace
from swiftvla_ros.episodes.bags.metadata import OfferedQos
from swiftvla_ros.nodes.commands.controller_order import JOINTS, ORDERS, order_of, order_problem
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.executor import NodeExecutor
from swiftvla_ros.nodes.ros.topic_diagnosis import diagnose_topic
from swiftvla_ros.observation.message_fields import PolicyReport, header_stamp_ns, read_policy_state, stamp_ns
from swiftvla_ros.preflight.graph import (
    ClockFacts,
    Endpoint,
    ExpectedTopic,
    GraphFacts,
    LoadedPolicy,
    Mismatch,
    NodeFacts,
    TopicFacts,
    expected_topics,
    full_name,
    own_nodes,
)
from swiftvla_ros.preflight.heard import NS, Heard

Key = TypeVar("Key", bound=Hashable)

_NAME = "swiftvla_doctor"
_SPIN_S = 0.05
# Discovery takes some tenths of a second, seldom more: it is over when nothing new was seen for so long.
_SETTLED_S, _LONGEST_DISCOVERY_S = 1.0, 6.0
# A node answers between two messages; one that loads a checkpoint does not.
_ANSWER_S = 3.0
_MOST_NODES = 64
_QUEUE = 100
# The parameters that are asked for.
_EVERYBODY_S: tuple[str, ...] = ("use_sim_time",)
_EXECUTOR_S: tuple[str, ...] = ("use_sim_time", "robot", "shadow")
_POLICY_S: tuple[str, ...] = ("use_sim_time", "checkpoint", "policy_from", "max_rate_hz")
# What a subscriber may ask for, and what it could do with.
_LESS = {"reliable": "best effort", "transient local": "volatile"}
_NOT_OURS = ("/rosout", "/parameter_events", "/clock")


class GraphListener:
    """A node that subscribes and asks; a context manager, used from one thread."""

    def __init__(self, namespace: str) -> None:
        self._namespace = plain_namespace(namespace)
        self._context = rclpy.Context()
        self._heard: dict[str, dict[bytes, Heard]] = defaultdict(lambda: defaultdict(Heard))
        self._newest: dict[str, Any] = {}
        self._clock_times: list[int] = []
        self._on_simulated_time = False

    def __enter__(self) -> GraphListener:
        # Of its own, so that a node may listen beside what it does; Ctrl-C is the command's.
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node(
            _NAME, context=self._context, namespace=self._namespace or None, enable_rosout=False
        )
        self._executor = NodeExecutor(self._context)
        self._executor.add_node(self._node)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def find_nodes(self, awaited: Collection[str] = ()) -> dict[str, NodeFacts]:
        """Wait until the graph is seen, and ask its nodes for their states and some parameters.

        Of ``awaited`` nodes, full names, one that is not seen is waited for longer.
        """
        self._discover(awaited)
        found = self._node.get_node_names_and_namespaces()
        # What is hidden, such as the command line's own, has nothing to do with the robot.
        full = [f"{ns.rstrip('/')}/{name}" for name, ns in found if name != _NAME and not name.startswith("_")]
        services = self._services()
        names = sorted(set(full))[:_MOST_NODES]
        states = self._ask_states([name for name in names if f"{name}/get_state" in services])
        ours = {"trajectory_executor": _EXECUTOR_S, "policy": _POLICY_S}
        of_ours = {node: keys for name, keys in ours.items() if (node := full_name(name, self._namespace)) in names}
        parameters = self._ask_parameters(dict.fromkeys(names, _EVERYBODY_S) | of_ours)
        return {name: NodeFacts(full.count(name), states.get(name, ""), parameters.get(name, {})) for name in names}

    def listen(
        self,
        contract: Contract,
        nodes: Mapping[str, NodeFacts],
        seconds: float,
        progress: Callable[[float], object],
    ) -> GraphFacts:
        """Take the messages of a robot's topics for so long; ``progress`` is told which part of it is over."""
        expected = expected_topics(contract, self._namespace)
        own = own_nodes(contract, self._namespace, nodes)
        self._follow_clock(any(nodes[name].parameters.get("use_sim_time") for name in own if name in nodes))
        for topic in expected:
            self._subscribe(topic)
        started = time.monotonic()
        while (elapsed_s := time.monotonic() - started) < seconds:
            progress(elapsed_s / seconds)
            self._executor.spin_once(timeout_sec=_SPIN_S)
        end_ns = time.time_ns()
        clock = self._clock_facts()
        pace = clock.advanced_s / elapsed_s if self._on_simulated_time and clock.advanced_s > 0 else 1.0
        topics = tuple(self._topic_facts(topic, contract, pace, end_ns) for topic in expected)
        silent = {topic.expected.topic for topic in topics if topic.causes}
        mismatches, connections = self._pairs(set(own), silent)
        policy = self._newest.get(full_name("policy_state", self._namespace))
        executor = self._newest.get(full_name("executor_state", self._namespace))
        session = self._newest.get(full_name("demonstration_state", self._namespace))
        teleop = self._newest.get(full_name("teleop_state", self._namespace))
        return GraphFacts(
            namespace=self._namespace,
            seconds=elapsed_s,
            nodes=nodes,
            topics=topics,
            mismatches=tuple(mismatches),
            connections=connections,
            clock=clock,
            services=frozenset(self._services()),
            policy=None if policy is None else _loaded(read_policy_state(policy)),
            executor=None if executor is None else (int(executor.mode), str(executor.reason_text)),
            orders=tuple(self._wrong_orders(contract)),
            session=None if session is None else str(session.blocked),
            teleop=None if teleop is None else f"{teleop.source}: {teleop.reason}",
        )

    def call(self, kind: Any, service: str, request: Any, patience_s: float) -> Any:
        """Call a service of this robot's; None where nobody answers in time."""
        name = full_name(service, self._namespace)
        return self._ask({name: (kind, name, request)}, patience_s).get(name)

    def hear(self, kind: Any, topic: str, take: Callable[[Any], object]) -> None:
        """Take the latched message of a topic of this robot's, during any later call."""
        self._node.create_subscription(kind, full_name(topic, self._namespace), take, qos.LATCHED)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Take messages until it holds, for as long as an answer may take."""
        deadline = time.monotonic() + _ANSWER_S
        while not condition() and time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=_SPIN_S)

    def _discover(self, awaited: Collection[str]) -> None:
        seen: set[tuple[str, str]] = set()
        changed = started = time.monotonic()
        settled = False
        while not settled and time.monotonic() - started < _LONGEST_DISCOVERY_S:
            self._executor.spin_once(timeout_sec=_SPIN_S)
            present = set(self._node.get_node_names_and_namespaces())
            missing = set(awaited) - {f"{ns.rstrip('/')}/{name}" for name, ns in present}
            if present != seen:
                seen, changed = present, time.monotonic()
            settled = not missing and time.monotonic() - changed >= _SETTLED_S

    def _services(self) -> set[str]:
        return {name for name, _types in self._node.get_service_names_and_types()}

    def _ask_states(self, names: Iterable[str]) -> dict[str, str]:
        asked = {name: (GetState, f"{name}/get_state", GetState.Request()) for name in names}
        return {name: str(answer.current_state.label) for name, answer in self._ask(asked).items()}

    def _ask_parameters(self, wanted: Mapping[str, Iterable[str]]) -> dict[str, dict[str, Any]]:
        """Ask nodes for the values of parameters; what a node does not have, it does not tell."""
        services = self._services()
        # One by one: a node that lacks one of several gives none.
        asked = {
            (name, key): (GetParameters, f"{name}/get_parameters", GetParameters.Request(names=[key]))
            for name, keys in wanted.items()
            for key in keys
            if f"{name}/get_parameters" in services
        }
        found: dict[str, dict[str, Any]] = defaultdict(dict)
        for (name, key), answer in self._ask(asked).items():
            if answer.values:
                found[name][key] = parameter_value_to_python(answer.values[0])
        return found

    def _ask(self, asked: Mapping[Key, tuple[Any, str, Any]], patience_s: float = _ANSWER_S) -> dict[Key, Any]:
        """Call services at once; what does not answer in time is left out."""
        clients = {key: self._node.create_client(kind, service) for key, (kind, service, _) in asked.items()}
        futures: dict[Key, Any] = {}
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            for key in clients.keys() - futures.keys():
                if clients[key].service_is_ready():
                    futures[key] = clients[key].call_async(asked[key][2])
            if len(futures) == len(clients) and all(future.done() for future in futures.values()):
                break
            self._executor.spin_once(timeout_sec=_SPIN_S)
        answers = {key: f.result() for key, f in futures.items() if f.done() and f.exception() is None}
        for client in clients.values():
            self._node.destroy_client(client)
        return answers

    def _follow_clock(self, simulated: bool) -> None:
        self._node.create_subscription(
            Clock, "/clock", lambda message: self._clock_times.append(stamp_ns(message.clock)), qos.CLOCK
        )
        if simulated and self._node.count_publishers("/clock"):
            self._on_simulated_time = True
            self._node.set_parameters([Parameter("use_sim_time", value=True)])

    def _clock_facts(self) -> ClockFacts:
        times = self._clock_times
        publishers = tuple(e.node for e in map(_endpoint, self._node.get_publishers_info_by_topic("/clock")))
        return ClockFacts(publishers, len(times), (times[-1] - times[0]) / NS if times else 0.0)

    def _subscribe(self, topic: ExpectedTopic) -> None:
        kind = _message_class(topic.type)
        if topic.rate_hz:
            # Best effort takes whatever is offered. Images are not decoded: the header tells enough.
            profile = qos.as_offered(OfferedQos(reliable=False, latched=False, depth=_QUEUE), _QUEUE)

            def take(data: bytes, info: Mapping[str, Any]) -> None:
                self._take(topic, kind, data, info)

            self._node.create_subscription(kind, topic.topic, take, profile, raw=True)
        elif topic.role == "state":

            def keep(data: bytes) -> None:
                if (message := _decode(data, kind)) is not None:
                    self._newest[topic.topic] = message

            self._node.create_subscription(kind, topic.topic, keep, qos.LATCHED, raw=True)

    def _take(self, topic: ExpectedTopic, kind: Any, data: bytes, info: Mapping[str, Any]) -> None:
        # Not every distribution tells the publisher, or numbers its messages.
        heard = self._heard[topic.topic][bytes((info.get("publisher_gid") or {}).get("data", b""))]
        arrival, sent = info["received_timestamp"] or time.time_ns(), info["source_timestamp"]
        heard.arrivals.append(arrival)
        heard.sent.append(sent or arrival)
        if number := info.get("publication_sequence_number"):
            heard.numbers.append(number)
        if stamp := header_stamp_ns(data):
            now = self._node.get_clock().now().nanoseconds if self._on_simulated_time else arrival
            heard.offsets.append(stamp - now)
        reads = topic.type.endswith("/JointState") or (topic.role == "camera" and len(heard.arrivals) == 1)
        if reads and (message := _decode(data, kind)) is not None:
            heard.see(message)

    def _topic_facts(self, topic: ExpectedTopic, contract: Contract, pace: float, end_ns: int) -> TopicFacts:
        publishers = self._node.get_publishers_info_by_topic(topic.topic)
        subscribers = self._node.get_subscriptions_info_by_topic(topic.topic)
        node_of = {bytes(info.endpoint_gid): _endpoint(info).node for info in publishers}
        streams = tuple(
            # What is longer known by the middleware than by the message is zeros.
            heard.stream(next((n for g, n in node_of.items() if gid and g[: len(gid)] == gid), ""), pace, end_ns)
            for gid, heard in self._heard[topic.topic].items()
        )
        silent = not streams and (topic.rate_hz or (topic.role == "state" and topic.topic not in self._newest))
        return TopicFacts(
            topic,
            tuple(map(_endpoint, publishers)),
            tuple(e for e in map(_endpoint, subscribers) if not e.node.endswith(f"/{_NAME}")),
            next((_endpoint(info).type_hash for info in subscribers if info.node_name == _NAME), ""),
            streams,
            self._causes(topic, contract) if silent else (),
        )

    def _causes(self, topic: ExpectedTopic, contract: Contract) -> tuple[tuple[str, str], ...]:
        width, height = contract.camera(topic.source).source_size if topic.role == "camera" else (0, 0)
        profile = qos.CAMERA_INPUT if topic.rate_hz else qos.LATCHED
        found = diagnose_topic(self._node, topic.topic, _message_class(topic.type), profile, 3 * width * height)
        return tuple((cause.text, cause.fix) for cause in found.causes)

    def _wrong_orders(self, contract: Contract) -> Iterator[tuple[str, str]]:
        """Ask who takes arrays of commands for its order of joints; give topic and problem where it is another."""
        for part in contract.command_parts:
            subscribers = self._node.get_subscriptions_info_by_topic(part.topic) if part.is_array else []
            takers = {_endpoint(info).node for info in subscribers}
            for name, told in self._ask_parameters(dict.fromkeys(sorted(takers), (JOINTS, ORDERS))).items():
                order = told.get(JOINTS) or order_of(told.get(ORDERS) or [], part.topic)
                if order and tuple(order) != part.names:
                    yield part.topic, order_problem(part, name, order)

    def _pairs(self, own: set[str], silent: set[str]) -> tuple[list[Mismatch], int]:
        """Look which publishers and subscribers do not meet, of pairs with a node of this system; count the others."""
        mismatches, connections = [], 0
        for topic, _types in self._node.get_topic_names_and_types():
            if topic in _NOT_OURS or topic in silent:
                continue
            for publisher in self._node.get_publishers_info_by_topic(topic):
                for subscriber in self._node.get_subscriptions_info_by_topic(topic):
                    ends = _endpoint(publisher).node, _endpoint(subscriber).node
                    if subscriber.node_name == _NAME or own.isdisjoint(ends):
                        continue
                    problem = _problem(publisher, subscriber)
                    connections += problem is None
                    if problem is not None:
                        mismatches.append(Mismatch(topic, *ends, *problem))
        return mismatches, connections


def _loaded(told: PolicyReport) -> LoadedPolicy:
    return LoadedPolicy(told.reason, told.instruction, told.checkpoint_sha256, told.device, told.latency_s)


def _endpoint(info: Any) -> Endpoint:
    # Humble has no hashes yet.
    digest = getattr(info, "topic_type_hash", None)
    known = digest is not None and int(digest.version) > 0
    return Endpoint(
        f"{info.node_namespace.rstrip('/')}/{info.node_name}", info.topic_type, str(digest) if known else ""
    )


def _decode(data: bytes, kind: Any) -> Any:
    """Decode a message; None for what was made by another definition of its type."""
    try:
        return deserialize_message(data, kind)
    except (RuntimeError, ValueError):
        return None


def _message_class(name: str) -> Any:
    package, _, kind = name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), kind)


def _problem(publisher: Any, subscriber: Any) -> tuple[str, str] | None:
    """Why these two do not meet, and the fix."""
    if publisher.topic_type != subscriber.topic_type:
        return f"{publisher.topic_type} is not {subscriber.topic_type}", "correct the topic or the type of one of them"
    compatibility, reason = qos_check_compatible(publisher.qos_profile, subscriber.qos_profile)
    if compatibility != QoSCompatibility.ERROR:
        return None
    reasons = "; ".join(part.strip().removeprefix("ERROR: ") for part in reason.split(";") if "ERROR" in part)
    less = [f"{few}, or the publisher offer {much}" for much, few in _LESS.items() if f"{much} subscription" in reasons]
    return reasons, f"let the subscriber ask for {' and '.join(less) or 'what the publisher offers'}"
