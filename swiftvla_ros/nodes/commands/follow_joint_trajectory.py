# SPDX-License-Identifier: Apache-2.0
"""``control_msgs/action/FollowJointTrajectory`` from both sides, where control_msgs is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from rclpy.action import ActionClient, ActionServer, GoalResponse
from rclpy.task import Future

from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.observation.message_fields import stamp_ns

_REPEAT_S = 5.0
_WATCH_S = 0.05
# Goals whose answer is still awaited; more than this, and the controller is taken for gone.
_MOST_UNANSWERED = 20


def follow_joint_trajectory() -> Any:
    """Return the action's type; ValueError where control_msgs is not installed (PyPI has no wheel of it)."""
    try:
        return importlib.import_module("control_msgs.action").FollowJointTrajectory
    except ImportError:
        raise ValueError(
            "control.output: follow_joint_trajectory needs control_msgs, which is not installed: install "
            "ros-<distribution>-control-msgs (PyPI has none), or write output: joint_trajectory, which the same "
            "controller takes"
        ) from None


class FollowClient:
    """Sends trajectories as goals of the action ``name``, such as ``/arm_controller/follow_joint_trajectory``.

    Each one replaces the goal before it, as joint_trajectory_controller does.
    """

    def __init__(self, node: ManagedNode[Any], name: str) -> None:
        self._node = node
        self._name = name
        self._type = follow_joint_trajectory()
        self._client = node.own(ActionClient(node, self._type, name), ActionClient.destroy)
        self._unanswered = 0

    def send(self, trajectory: Any) -> None:
        """Send a goal, or say why that is in vain."""
        if not self._client.server_is_ready():
            self._complain("nobody serves it; is the controller active?")
            return
        if self._unanswered >= _MOST_UNANSWERED:
            self._complain(f"{self._unanswered} goals are not answered")
            return
        self._unanswered += 1
        self._client.send_goal_async(self._type.Goal(trajectory=trajectory)).add_done_callback(self._answered)

    def _answered(self, future: Any) -> None:
        self._unanswered -= 1
        handle = future.result()
        if handle is not None and not handle.accepted:
            self._complain("the controller refuses the goal; its own log says why")

    def _complain(self, problem: str) -> None:
        self._node.get_logger().error(f"action {self._name}: {problem}", throttle_duration_sec=_REPEAT_S)


class FollowServer:
    """A controller's side: a goal is taken or refused, is active until its last point, and gives way to the next.

    ``take`` is called with each goal's trajectory; False refuses the goal.
    """

    def __init__(self, node: ManagedNode[Any], name: str, take: Callable[[Any], bool]) -> None:
        self._node = node
        self._take = take
        self._type = follow_joint_trajectory()
        self._active: tuple[Future[str], int] | None = None
        server = ActionServer(
            node, self._type, name, self._execute, goal_callback=self._judge, result_timeout=int(_REPEAT_S)
        )
        node.own(server, ActionServer.destroy)
        node.timer(_WATCH_S, self._watch)

    def _judge(self, goal: Any) -> GoalResponse:
        taken = self._node.active and self._take(goal.trajectory)
        return GoalResponse.ACCEPT if taken else GoalResponse.REJECT

    async def _execute(self, handle: Any) -> Any:
        last = handle.request.trajectory.points[-1].time_from_start
        if self._active is not None:
            self._active[0].set_result("a newer goal took over")
        ending: Future[str] = Future()
        self._active = ending, self._node.now_ns() + stamp_ns(last)
        replaced = await ending
        result = self._type.Result(error_string=replaced)
        if replaced:
            handle.abort()
        else:
            handle.succeed()
        return result

    def _watch(self) -> None:
        if self._active is not None and self._node.now_ns() >= self._active[1]:
            ending, self._active = self._active[0], None
            ending.set_result("")
