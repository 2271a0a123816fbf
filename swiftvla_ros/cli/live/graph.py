# SPDX-License-Identifier: Apache-2.0
"""A conversation with a running system: wait until it is there, give it instructions, press its buttons."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.checks.ros_names import plain_namespace
from swiftvla_ros.errors import UserError
from swiftvla_ros.log_folder import provide_log_folder

_SPIN_S = 0.05
_SERVICE_TIMEOUT_S = 10.0
_OUTCOMES = ("SUCCEEDED", "TIMEOUT", "CANCELED", "REFUSED", "FAILED")


class GraphError(UserError, RuntimeError):
    """The running system does not answer; the message names what is missing."""


@dataclass(frozen=True)
class InstructionOutcome:
    """How an instruction ended: ``name`` is SUCCEEDED, TIMEOUT, CANCELED, REFUSED or FAILED."""

    success: bool
    name: str
    message: str
    instruction_id: int
    elapsed_s: float


def own_domain() -> dict[str, str]:
    """Return variables that keep a simulated system off every other one, so that it can't move a real arm.

    The domain id is below 102: higher ones collide with Linux' ephemeral ports.
    """
    localhost = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    if os.environ.get("ROS_DISTRO") == "humble":
        localhost = {"ROS_LOCALHOST_ONLY": "1"}
    return {"ROS_DOMAIN_ID": str(1 + os.getpid() % 101), **localhost}


class LiveGraph:
    """A node of this process in the running graph; a context manager. All calls come from one thread.

    ``check`` is called while waiting; it raises when waiting is in vain.
    """

    def __init__(self, *, namespace: str = "", check: Callable[[], None] = lambda: None) -> None:
        self._namespace = plain_namespace(namespace)
        self._check = check

    def __enter__(self) -> LiveGraph:
        import rclpy
        from rclpy.action import ActionClient
        from rclpy.signals import SignalHandlerOptions

        from swiftvla_ros.action import RunInstruction
        from swiftvla_ros.nodes.ros.executor import NodeExecutor

        notice, _ = provide_log_folder()
        if notice:
            print(notice, file=sys.stderr)
        # Ctrl-C belongs to the command, which ends the whole system in order.
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("swiftvla_cli", namespace=self._namespace)
        self._executor = NodeExecutor()
        self._executor.add_node(self._node)
        self._action = ActionClient(self._node, RunInstruction, "run_instruction")
        self._services: dict[str, Any] = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import rclpy

        self._action.destroy()
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    def listen(self, kind: type, topic: str, callback: Callable[[Any], object], qos: Any) -> None:
        """Take the messages of a topic from now on; they come while this object waits or spins."""
        self._node.create_subscription(kind, topic, callback, qos)

    def publisher(self, kind: type, topic: str, qos: Any) -> Any:
        """Make a publisher, which lives as long as this object."""
        return self._node.create_publisher(kind, topic, qos)

    def publishers(self, topic: str) -> int:
        """Count the publishers of a topic that are seen."""
        return int(self._node.count_publishers(topic))

    def now_ns(self) -> int:
        """Present time of the ROS clock, ns."""
        return int(self._node.get_clock().now().nanoseconds)

    def use_sim_time(self) -> None:
        """Take the time from /clock instead of the machine."""
        from rclpy.parameter import Parameter

        self._node.set_parameters([Parameter("use_sim_time", value=True)])

    def spin(self, seconds: float) -> None:
        """Take messages for so long."""
        self._wait(lambda: False, seconds)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float, problem: str) -> None:
        """Take messages until ``condition`` holds; GraphError with ``problem`` after ``timeout_s``."""
        if not self._wait(condition, timeout_s):
            raise GraphError(f"{problem} ({timeout_s:.0f} s waited)")

    def wait_until_ready(self, contract: Contract, timeout_s: float, *, recorded: bool = False) -> None:
        """Wait until every part of the robot's system is seen.

        With ``recorded`` also until a recorder has heard all that a chunk may be computed from now on: it listens, and
        what was published before, perhaps not to it, is too old.

        GraphError names what is missing after ``timeout_s``.
        """
        topics = [f"observation/{c}" for c in contract.camera_names]
        topics += ["observation/state", "executor_state", "policy_state", "action_chunk", *contract.command_topics]

        def missing() -> list[str]:
            parts = [f"a publisher of {t}" for t in topics if not self._node.count_publishers(t)]
            if not self._action.server_is_ready():
                parts.append("the action run_instruction")
            if recorded:
                parts += [f"a recorder of {t}" for t in topics if "recorder" not in self._subscribers(t)]
            return parts

        if not self._wait(lambda: not missing(), timeout_s):
            raise GraphError(f"not there after {timeout_s:.0f} s: {', '.join(missing())}")
        if recorded:
            self.spin(max(contract.policy.max_image_age_s, contract.policy.max_state_age_s))

    def run_instruction(
        self,
        text: str,
        timeout_s: float,
        on_feedback: Callable[[Any], None] = lambda _: None,
        *,
        cancel_on_interrupt: bool = False,
    ) -> InstructionOutcome:
        """Send an instruction by the action and wait until it has ended; Ctrl-C may cancel it instead of this wait."""
        from swiftvla_ros.action import RunInstruction

        started = time.monotonic()
        handle = self.start_instruction(text, timeout_s, on_feedback)
        ending = handle.get_result_async()
        try:
            # The action keeps the time itself; more patience here covers a busy machine.
            result = self._result(ending, timeout_s + _SERVICE_TIMEOUT_S, "run_instruction does not end").result
        except KeyboardInterrupt:
            if not cancel_on_interrupt:
                raise
            handle.cancel_goal_async()
            result = self._result(ending, _SERVICE_TIMEOUT_S, "run_instruction is not cancelled").result
        return InstructionOutcome(
            success=result.success,
            name=next(n for n in _OUTCOMES if getattr(RunInstruction.Result, n) == result.outcome),
            message=result.message,
            instruction_id=result.instruction_id,
            elapsed_s=time.monotonic() - started,
        )

    def start_instruction(
        self, text: str, timeout_s: float, on_feedback: Callable[[Any], None] = lambda _: None
    ) -> Any:
        """Send an instruction by the action and give its goal handle; a later instruction replaces it."""
        from swiftvla_ros.action import RunInstruction

        goal = RunInstruction.Goal(instruction=text)
        goal.timeout.sec, goal.timeout.nanosec = int(timeout_s), int(timeout_s % 1 * 1e9)
        sent = self._action.send_goal_async(goal, feedback_callback=lambda m: on_feedback(m.feedback))
        handle = self._result(sent, _SERVICE_TIMEOUT_S, "run_instruction does not accept goals")
        if not handle.accepted:
            raise GraphError("run_instruction refused the goal")
        return handle

    def wait_for_instructions(self, timeout_s: float) -> None:
        """Wait until a policy takes instructions; raises :class:`GraphError`."""
        if not self._wait(self._action.server_is_ready, timeout_s):
            domain = os.environ.get("ROS_DOMAIN_ID", "0")
            raise GraphError(
                f"no policy takes instructions on {self._node.resolve_topic_name('run_instruction')} in ROS domain "
                f"{domain}; start one with `swiftvla up`, or set ROS_DOMAIN_ID and --namespace as there"
            )

    def wait_until_at_rest(self, timeout_s: float) -> None:
        """Wait until the executor moves nothing; raises :class:`GraphError` where it still does after ``timeout_s``."""
        from swiftvla_ros.msg import ExecutorState

        newest: list[Any] = []
        moving = (ExecutorState.FRESH, ExecutorState.TAIL, ExecutorState.DECELERATING)
        subscription = self._node.create_subscription(ExecutorState, "executor_state", newest.append, 1)
        try:
            if not self._wait(lambda: bool(newest) and newest[-1].mode not in moving, timeout_s):
                what = newest[-1].reason_text if newest else "no executor_state was received"
                raise GraphError(f"the arm is not at rest after {timeout_s:.0f} s: {what}")
        finally:
            self._node.destroy_subscription(subscription)

    def trigger(self, service: str) -> str:
        """Call a ``std_srvs/Trigger`` service such as ``sim_robot/reset``; give its message, or raise GraphError."""
        from std_srvs.srv import Trigger

        return str(self.call(Trigger, service, Trigger.Request()).message)

    def call(self, kind: type, service: str, request: Any) -> Any:
        """Call a service that answers with ``success`` and ``message``; give its answer, or raise GraphError."""
        if service not in self._services:
            self._services[service] = self._node.create_client(kind, service)
        client = self._services[service]
        if not self._wait(client.service_is_ready, _SERVICE_TIMEOUT_S):
            raise GraphError(f"no service {service}")
        answer = self._result(client.call_async(request), _SERVICE_TIMEOUT_S, f"{service} does not answer")
        if not answer.success:
            raise GraphError(f"{service}: {answer.message}")
        return answer

    def _subscribers(self, topic: str) -> list[str]:
        name = self._node.resolve_topic_name(topic)
        return [info.node_name for info in self._node.get_subscriptions_info_by_topic(name)]

    def _result(self, future: Any, timeout_s: float, problem: str) -> Any:
        self.wait_for(future.done, timeout_s, problem)
        return future.result()

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Take messages until ``condition`` holds; False after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            self._check()
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=_SPIN_S)
        return True
