# SPDX-License-Identifier: Apache-2.0
"""What all nodes share: the managed life cycle with four hooks, and the process around it."""

from __future__ import annotations

import faulthandler
import gc
import inspect
import math
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import Trigger

from swiftvla_ros.contract import Contract, load_robot
from swiftvla_ros.contract.exit_codes import EXIT_CONFIGURATION
from swiftvla_ros.extras import missing_extra
from swiftvla_ros.log_folder import NO_LOG_FILES, provide_log_folder
from swiftvla_ros.nodes.ros.ending import LEAVE_GRAPH_S, WIND_DOWN_S, Ending, StandstillWatch
from swiftvla_ros.nodes.ros.executor import NodeExecutor, WithoutEventHandlers
from swiftvla_ros.nodes.ros.parameters import Allowed, Rules
from swiftvla_ros.nodes.ros.qos import LATCHED
from swiftvla_ros.nodes.ros.silence import PERIOD_S, Awaited, SilenceWatch
from swiftvla_ros.nodes.ros.topic_diagnosis import small_shared_memory
from swiftvla_ros.preflight.transport import read_transport

# A clock step backwards beyond this is a jump (a bag looped, a simulator was reset), not the slewing of NTP.
_CLOCK_JUMP_NS = 100_000_000
# Whether the node is at rest is asked this often, where no message wakes the executor.
_ASK_S = 0.1

NodeParts = TypeVar("NodeParts")
"""What a node has between configure and cleanup."""


class ManagedNode(WithoutEventHandlers, LifecycleNode, Generic[NodeParts]):
    """A managed node whose subclasses fill hooks; the base validates, logs and reports the transitions.

    * ``setup`` (configure): read parameters, load, create publishers and services. Raises on anything wrong. What it
      returns are the node's ``parts``: all that it has until cleanup.
    * ``start`` (activate): begin to move data.
    * ``stop`` (deactivate): stop moving data; may be called twice, and without parts.
    * ``teardown`` (cleanup, shutdown): give back what is not this node's own publishers, services and timers.

    Hooks and callbacks run in the one thread that spins the executor, unless a subclass says otherwise.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.active = False
        self.contract: Contract
        self._parts: NodeParts | None = None
        self._last_now_ns: int | None = None
        # When the last transition ended; infinite while one runs.
        self._changed_s = -math.inf
        self._owned: list[tuple[Any, Callable[[Any], object]]] = []
        self.silence = SilenceWatch(self)
        self._configured = False
        # rclpy itself applies use_sim_time.
        self._rules = Rules(
            self.get_fully_qualified_name(),
            {},
            {"use_sim_time"},
            self.value,
            self.has_parameter,
            lambda: self._configured,
        )
        self.add_on_set_parameters_callback(self._rules.judge)
        self.describe("autostart", True, "configure and activate at start, without a lifecycle manager")
        self.describe("robot", "", "contract: a name of config/robots, or the path of a file")

    def describe(self, name: str, default: Any, text: str, allowed: Allowed | None = None) -> None:
        """Declare a parameter with its meaning and what it may hold; it is read at configure, then fixed."""
        self._rules.allowed[name] = allowed or Allowed()
        self.declare_parameter(name, default, ParameterDescriptor(description=f"{text} (read at configure)"))

    def describe_live(self, name: str, default: Any, text: str, allowed: Allowed | None = None) -> None:
        """Declare a parameter that the node applies while it runs, in a callback that it adds for it."""
        self._rules.allowed[name] = allowed or Allowed()
        self._rules.live.add(name)
        self.declare_parameter(name, default, ParameterDescriptor(description=text))

    def fix(self, name: str) -> None:
        """Have a parameter of rclpy's own refused while the node is configured, as this node's are."""
        self._rules.live.discard(name)

    def value(self, name: str) -> Any:
        """The value of a declared parameter."""
        return self.get_parameter(name).value

    @property
    def parts(self) -> NodeParts:
        """What ``setup`` returned."""
        assert self._parts is not None, "callbacks come between configure and cleanup"
        return self._parts

    def setup(self) -> NodeParts:
        """Hook of configure."""
        raise NotImplementedError

    def start(self) -> None:
        """Hook of activate."""

    def stop(self) -> None:
        """Hook of deactivate."""

    def teardown(self, parts: NodeParts) -> None:
        """Hook of cleanup."""

    def changed_within(self, seconds: float) -> bool:
        """Whether a transition ran, or loaded something, during the last ``seconds``; asked by another thread."""
        return time.monotonic() - self._changed_s < seconds

    def at_rest(self) -> bool:
        """Whether the process may end now; asked after ``stop`` while the executor still spins."""
        return True

    def publisher(self, kind: type, topic: str, qos: Any) -> Any:
        """Create a publisher that cleanup destroys."""
        return self.own(self.create_publisher(kind, topic, qos), self.destroy_publisher)

    def subscribe(
        self, kind: type, topic: str, callback: Callable[[Any], object], qos: Any, *, always: bool = False
    ) -> Any:
        """Create a subscription that cleanup destroys; it calls back while the node is active, or ``always``."""

        def deliver(message: Any) -> None:
            self.silence.heard(topic)
            if self.active or always:
                callback(message)

        return self.own(self.create_subscription(kind, topic, deliver, qos), self.destroy_subscription)

    def subscribe_with_info(self, kind: type, topic: str, callback: Callable[[Any, Any], object], qos: Any) -> Any:
        """The same while the node is active, with what rclpy knows of each message: whose it is, for one."""

        def deliver(message: Any, info: Any) -> None:
            self.silence.heard(topic)
            if self.active:
                callback(message, info)

        return self.own(self.create_subscription(kind, topic, deliver, qos), self.destroy_subscription)

    def service(self, kind: type, name: str, callback: Callable[[Any, Any], Any]) -> Any:
        """Create a service that cleanup destroys; while a coroutine awaits something, the rest of the node goes on."""
        group = MutuallyExclusiveCallbackGroup() if inspect.iscoroutinefunction(callback) else None
        return self.own(self.create_service(kind, name, callback, callback_group=group), self.destroy_service)

    def button(self, name: str, press: Callable[[], tuple[bool, str]]) -> None:
        """Create a ``std_srvs/Trigger`` service that answers what ``press`` returns, and that cleanup destroys."""

        def serve(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = press()
            return response

        self.service(Trigger, name, serve)

    def timer(self, period_s: float, callback: Callable[[], object]) -> Any:
        """Create a timer on the ROS clock that cleanup destroys."""
        return self.own(self.create_timer(period_s, callback), self.destroy_timer)

    def steady_timer(self, period_s: float, callback: Callable[[], object]) -> Any:
        """The same on a clock that goes on whatever the ROS clock does."""
        timer = self.create_timer(period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))
        return self.own(timer, self.destroy_timer)

    def awaits(self, what: str, kind: type, topic: str, qos: Any, **more: Any) -> None:
        """Explain the silence of a topic that the node needs; :class:`~swiftvla_ros.nodes.ros.silence.Awaited`."""
        self.silence.awaited.append(awaited := Awaited(what, topic, kind, qos, **more))
        if awaited.source is not None:
            # Whoever publishes it says there why it does not.
            problem = f"{topic}_problem"
            self.subscribe(
                String, problem, lambda message: self.silence.told(topic, message.data), LATCHED, always=True
            )

    def now_ns(self) -> int:
        """Present time of the node's ROS clock, ns."""
        return int(self.get_clock().now().nanoseconds)

    def clock_jumped_back(self, now_ns: int) -> bool:
        """Whether the clock went back since the last call (a bag looped, a simulator was reset)."""
        jumped = self._last_now_ns is not None and now_ns < self._last_now_ns - _CLOCK_JUMP_NS
        if jumped:
            self.get_logger().warning("the clock jumped back; what was buffered is forgotten")
        self._last_now_ns = now_ns
        return jumped

    def on_configure(self, _previous: LifecycleState) -> TransitionCallbackReturn:
        """Configure: load the contract, then ``setup``; a failure is logged and leaves the node unconfigured."""
        return self._transition("configure", self._set_up)

    def on_activate(self, _previous: LifecycleState) -> TransitionCallbackReturn:
        """Activate."""
        self.active = True
        result = self._transition("activate", self.start)
        self.active = result == TransitionCallbackReturn.SUCCESS
        return result

    def on_deactivate(self, _previous: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate."""
        self.active = False
        return self._transition("deactivate", self.stop)

    def on_cleanup(self, _previous: LifecycleState) -> TransitionCallbackReturn:
        """Clean up."""
        return self._transition("clean up", self._tear_down)

    def on_shutdown(self, _previous: LifecycleState) -> TransitionCallbackReturn:
        """Shut down from any state."""
        self.active = False
        return self._transition("shut down", self._shut_down)

    def on_error(self, _previous: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back after an error, so that the node can be configured again."""
        self.active = False
        return self._transition("clean up after an error", self._tear_down)

    def _set_up(self) -> None:
        self._rules.check()
        self.contract = self.read_contract()
        self._configured = True
        self._parts = self.setup()
        if self.silence.awaited or self.get_parameter("use_sim_time").value:
            self.steady_timer(PERIOD_S, self.silence.look)

    def read_contract(self) -> Contract:
        """Read the contract that the parameter ``robot`` names."""
        robot = str(self.value("robot"))
        if not robot:
            raise ValueError("parameter robot is empty; write a name of config/robots or the path of a contract file")
        return load_robot(robot)

    def _shut_down(self) -> None:
        self.stop()
        self._tear_down()

    def discard(self) -> None:
        """Drop the parts; may be called twice."""
        parts, self._parts = self._parts, None
        if parts is not None:
            self.teardown(parts)

    def _tear_down(self) -> None:
        self.discard()
        self.silence.clear()
        self._configured = False
        while self._owned:
            entity, destroy = self._owned.pop()
            destroy(entity)

    def own(self, entity: Any, destroy: Callable[[Any], object]) -> Any:
        """Have cleanup give ``entity`` back with ``destroy``."""
        self._owned.append((entity, destroy))
        return entity

    def _transition(self, what: str, hook: Callable[[], None]) -> TransitionCallbackReturn:
        self._changed_s = math.inf
        try:
            hook()
        except (ValueError, OSError, KeyError) as error:
            # The room that raised it has written a message for people: no traceback in the way.
            self.get_logger().fatal(f"can't {what}: {error}")
        except ModuleNotFoundError as error:
            self.get_logger().fatal(f"can't {what}: {missing_extra(error) or traceback.format_exc()}")
        except Exception:  # noqa: BLE001  (any failure of a hook is a failed transition, with its traceback)
            self.get_logger().fatal(f"can't {what}:\n{traceback.format_exc()}")
        else:
            return TransitionCallbackReturn.SUCCESS
        finally:
            self._changed_s = time.monotonic()
        if what == "configure":
            self._tear_down()
        return TransitionCallbackReturn.FAILURE


def script_of(make_node: Callable[[], ManagedNode[Any]]) -> Callable[..., None]:
    """Return what a node's command calls: it runs the node until SIGINT or SIGTERM, and ends the process."""

    def main(args: list[str] | None = None) -> None:
        try:
            sys.exit(run(make_node, args))
        finally:
            # A library's thread was once seen not to end: the operator is shown where, and does not wait for ever.
            faulthandler.dump_traceback_later(LEAVE_GRAPH_S, exit=True)

    return main


def run(make_node: Callable[[], ManagedNode[Any]], args: list[str] | None = None) -> int:
    """Run one node in this process until SIGINT or SIGTERM.

    Returns
    -------
    int
        0 when it was asked to end; 2 when it could not be configured, 1 when it could not be activated (only with
        ``autostart``), 3 after a standstill for longer than its lease. An exception in a callback ends the process with
        a traceback and status 1.
    """
    notice, log_files = provide_log_folder()
    if notice:
        print(notice, file=sys.stderr, flush=True)
    transport = read_transport()
    if not log_files:
        args = [*(sys.argv if args is None else args), "--ros-args", NO_LOG_FILES]
    # rclpy's own handlers shut the context down at once: then nothing could be commanded while the arm slows down.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    ending = Ending()
    node: ManagedNode[Any] | None = None
    executor = NodeExecutor()
    ending.wakes(executor.wake)
    try:
        try:
            node = make_node()
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            print(f"can't start: {error}", file=sys.stderr)
            return EXIT_CONFIGURATION
        StandstillWatch(transport, ending.forgotten, node.changed_within)
        executor.add_node(node)
        if transport.full and (cause := small_shared_memory(transport)):
            node.get_logger().warning(f"messages go over UDP, where large ones get lost: {cause}")
        if node.value("autostart"):
            if node.trigger_configure() != TransitionCallbackReturn.SUCCESS:
                return EXIT_CONFIGURATION
            if node.trigger_activate() != TransitionCallbackReturn.SUCCESS:
                return 1
        ending.at_once = False
        # rclpy leaves circles behind at each wake-up: their collector need not look through all that was imported.
        gc.collect()
        gc.freeze()
        while not ending.asked:
            executor.spin_once()
        if node.active:
            node.trigger_deactivate()
        deadline = time.monotonic() + WIND_DOWN_S
        while not node.at_rest() and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=_ASK_S)
        return ending.status
    finally:
        if node is not None:
            node.stop()
            node.discard()
            # The node's own work is done. Fast DDS may wait here for a lock of its shared memory that another process
            # died with: a node's participant stays until its process is gone (rclpy keeps it), and its threads with it.
            # The operator is shown where, and does not wait for ever.
            faulthandler.dump_traceback_later(LEAVE_GRAPH_S, exit=True)
            executor.shutdown()
            node.destroy_node()
        rclpy.try_shutdown()
        faulthandler.cancel_dump_traceback_later()
