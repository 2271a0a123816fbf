# SPDX-License-Identifier: Apache-2.0
"""A running graph in which a person may lead the arm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from std_srvs.srv import Trigger

from swiftvla_ros.contract import load_contract
from swiftvla_ros.msg import ExecutorState, TeleopState
from swiftvla_ros.nodes.ros import qos

CONTRACT = load_contract("so101_sim")


class TeleopGraph:
    """A robot, the executor, teleop_node and a recorder, and what they say."""

    def __init__(self, graph: Any, robot: str) -> None:
        self.graph = graph
        graph.start(robot, robot="so101_sim")
        for camera in CONTRACT.camera_names:
            graph.start("camera_node", f"camera_{camera}", robot="so101_sim", camera=camera)
        for node in ("joint_state_node", "trajectory_executor_node", "teleop_node"):
            graph.start(node, robot="so101_sim")
        self.states = graph.listen(ExecutorState, "executor_state", qos.EXECUTOR_STATE)
        self.teleop = graph.listen(TeleopState, "teleop_state", qos.LATCHED)

    def record(self, bag: Path, *more: str) -> Any:
        """Start a recorder, and wait until it hears all that matters, and ``more``; from now on states are kept."""
        recorder = self.graph.start("recorder_node", bag=str(bag), robot="so101_sim")
        names = ["/executor_state", "/observation/state", "/operator_chunk", "/policy_state", "/teleop_state", *more]

        def heard(topic: str) -> bool:
            return any(info.node_name == "recorder" for info in self.graph.node.get_subscriptions_info_by_topic(topic))

        self.graph.wait_until(lambda: all(heard(name) for name in names), "the recorder listens", 60)
        self.states.clear()
        self.graph.wait_until(lambda: self.states.messages, "the executor speaks", 20)
        return recorder

    def engage(self) -> None:
        """Engage, once there is a leader, and wait until it leads."""
        self.graph.wait_until(lambda: self.teleop.messages and self.teleop.last.distance, "a leader is there", 60)
        answer = self.graph.call(Trigger, "teleop/engage", Trigger.Request())
        assert answer.success, answer.message
        self.lead_until(lambda: self.teleop.last.phase == TeleopState.FOLLOWING, "the arm follows", 20)

    def lead_until(self, condition: Callable[[], Any], what: str, timeout_s: float) -> None:
        """Wait, and engage again where a machine that stands still made the leader silent, as a person would."""

        def holds() -> Any:
            if self.teleop.last.phase == TeleopState.HELD:
                self.graph.call(Trigger, "teleop/engage", Trigger.Request())
            return condition()

        self.graph.wait_until(holds, what, timeout_s)
