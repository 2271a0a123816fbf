# SPDX-License-Identifier: Apache-2.0
"""The nodes' executor does what rclpy's single-threaded one does."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import String
from std_srvs.srv import Trigger

from swiftvla_ros.nodes.ros import executor as under_test
from swiftvla_ros.nodes.ros.executor import NodeExecutor, VisitedWhile
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.qos import LATCHED, MONITORED

WITHIN_S = 10.0
_ENDLESS_NODE = """
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of

class Waiting(ManagedNode[None]):
    def __init__(self):
        super().__init__("waiting")

    def setup(self):
        pass

    def start(self):
        print("waits", flush=True)

script_of(Waiting)(["waiting", "--ros-args", "-p", "robot:=so101_sim"])
"""


class Spun:
    """A node and its executor, in this thread."""

    def __init__(self, node: Node) -> None:
        self.node, self.executor = node, NodeExecutor()
        self.executor.add_node(self.node)

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Spin until something is so."""
        deadline = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < deadline, what
            self.executor.spin_once(timeout_sec=0.2)

    def end(self) -> None:
        """Destroy both."""
        self.executor.shutdown()
        self.node.destroy_node()


class Answering(ManagedNode[Any]):
    """A managed node with a service that answers at once, and one that answers when something is ``brought``."""

    def __init__(self) -> None:
        super().__init__("answering")
        self.begun, self.brought = threading.Event(), Future()
        self.later = self.service(Trigger, "~/later", self._later)
        self.service(Trigger, "~/now", lambda _request, response: response)

    async def _later(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.begun.set()
        await self.brought
        return response


@pytest.fixture
def spun(request: pytest.FixtureRequest, ros_environment: dict[str, str]) -> Iterator[Spun]:  # noqa: ARG001 (read by ROS)
    """One in a ROS domain of its own; a test may ask for another node than a plain one."""
    rclpy.init()
    spun = Spun(getattr(request, "param", lambda: Node("spun"))())
    yield spun
    spun.end()
    rclpy.try_shutdown()


def test_every_message_and_timer_is_served_and_what_is_waited_for_built_once(
    spun: Spun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects what it is there for: rclpy builds its wait set two or three times a message."""
    built, heard, ticks = [], [], []
    make = rclpy_implementation.WaitSet

    class Counted:
        WaitSet = staticmethod(lambda *counts: built.append(counts) or make(*counts))

    publisher = spun.node.create_publisher(String, "told", LATCHED)
    spun.node.create_subscription(String, "told", lambda message: heard.append(message.data), MONITORED)
    timer = spun.node.create_timer(0.01, lambda: ticks.append(len(heard)))
    spun.until(lambda: publisher.get_subscription_count() == 1, "no subscription")
    spun.until(lambda: ticks, "the timer does not call")
    monkeypatch.setattr(under_test, "rclpy_implementation", Counted)
    for number in range(20):
        publisher.publish(String(data=str(number)))
        spun.until(lambda number=number: heard[-1:] == [str(number)], f"message {number} is not heard")
    assert heard == [str(number) for number in range(20)]
    assert not built
    spun.node.destroy_timer(timer)
    count = len(ticks)
    spun.executor.spin_once(timeout_sec=0.05)
    assert len(built) == 1, "there is one entity less to wait for"
    assert len(ticks) == count


def test_what_a_callback_destroys_is_called_no_more(spun: Spun) -> None:
    """Protects cleanup in a callback: of two timers that are due together, the first destroys the other."""
    called = []
    spun.node.create_timer(0.01, lambda: called.append(1) or spun.node.destroy_timer(second))
    second = spun.node.create_timer(0.01, lambda: called.append(2))
    time.sleep(0.02)  # both are due
    spun.until(lambda: len(called) > 2, "the first is called no more")
    assert 2 not in called


def test_a_callback_that_awaits_goes_on_and_keeps_its_group_to_itself(spun: Spun) -> None:
    """Protects services and actions that answer later, be it another thread that brings what they await."""
    brought: Future[None] = Future()
    begun, ticks = threading.Event(), []

    async def serve(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        begun.set()
        await brought
        response.success = True
        return response

    spun.node.create_service(Trigger, "later", serve)
    spun.node.create_timer(0.01, lambda: ticks.append(begun.is_set()))
    client = spun.node.create_client(Trigger, "later", callback_group=VisitedWhile(lambda: True))
    spun.until(client.service_is_ready, "no service")
    answer = client.call_async(Trigger.Request())
    spun.until(begun.is_set, "nobody serves")
    ticks.clear()
    for _ in range(3):
        spun.executor.spin_once(timeout_sec=0.02)
    assert not ticks
    assert not answer.done()
    threading.Thread(target=lambda: brought.set_result(None)).start()
    spun.until(answer.done, "no answer")
    assert answer.result().success
    spun.until(lambda: ticks, "the group is not free again")


@pytest.mark.parametrize("spun", [Answering], indirect=True)
def test_a_node_whose_service_awaits_answers_others_and_may_be_cleaned_up(spun: Spun) -> None:
    """Protects a pre-flight, which asks its own node for its parameters, and who ends a node that still looks."""
    node = spun.node
    assert isinstance(node, Answering)
    later, now = (
        node.create_client(Trigger, f"~/{name}", callback_group=VisitedWhile(lambda: True)) for name in ("later", "now")
    )
    spun.until(lambda: later.service_is_ready() and now.service_is_ready(), "no services")
    waits = later.call_async(Trigger.Request())
    spun.until(node.begun.is_set, "nobody serves")
    answer = now.call_async(Trigger.Request())
    spun.until(answer.done, "the other service waits, too")
    node.destroy_service(node.later)
    node.brought.set_result(None)
    spun.executor.spin_once(timeout_sec=0.1)
    assert not waits.done()


def test_entities_are_visited_only_while_they_are_wanted(spun: Spun) -> None:
    """Protects what is asked for otherwise: its messages stay in the middleware."""
    wanted, heard = [], []
    publisher = spun.node.create_publisher(String, "told", MONITORED)
    group = VisitedWhile(lambda: bool(wanted))
    spun.node.create_subscription(
        String, "told", lambda message: heard.append(message.data), MONITORED, callback_group=group
    )
    spun.until(lambda: publisher.get_subscription_count() == 1, "no subscription")
    publisher.publish(String(data="early"))
    spun.executor.spin_once(timeout_sec=0.2)
    assert not heard
    wanted.append(True)
    spun.until(lambda: heard == ["early"], "it is not heard")


@pytest.mark.parametrize("raised_by", ["timer", "task"])
def test_an_error_in_a_callback_reaches_who_spins(spun: Spun, raised_by: str) -> None:
    """Protects the end of a process whose callback fails; a task's is raised once."""

    def fail() -> None:
        raise LookupError(raised_by)

    if raised_by == "timer":
        spun.node.create_timer(0.01, fail)
    else:
        spun.executor.create_task(fail)
    with pytest.raises(LookupError, match=raised_by):
        spun.until(lambda: False, "nothing is raised")
    if raised_by == "task":
        spun.executor.spin_once(timeout_sec=0.0)


def test_another_thread_wakes_it(spun: Spun) -> None:
    """Protects tasks that a control loop's or an inference's thread hands over: nothing else may come for long."""
    done = threading.Event()
    spun.executor.spin_once(timeout_sec=0.0)
    threading.Timer(0.1, lambda: spun.executor.create_task(done.set)).start()
    began = time.monotonic()
    while not done.is_set():
        spun.executor.spin_once(timeout_sec=WITHIN_S)
    assert time.monotonic() - began < WITHIN_S / 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("ros_environment")
def test_a_signal_ends_a_node_that_waits_for_nothing(number: signal.Signals) -> None:
    """Protects Ctrl-C: no timer and no message wakes the executor, so the signal has to."""
    process = subprocess.Popen(
        [sys.executable, "-c", _ENDLESS_NODE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waits\n"
    time.sleep(0.5)  # nothing tells that it is in its wait
    process.send_signal(number)
    _, told = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, told
