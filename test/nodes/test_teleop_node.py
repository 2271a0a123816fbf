# SPDX-License-Identifier: Apache-2.0
"""A person's hand in the running graph: a leader that does a task, and a take-over from a running policy and back."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Not mujoco itself: the backend chooses OpenGL's platform before MuJoCo is imported.
pytest.importorskip("swiftvla_ros.sim.backend", reason="mujoco is not installed: pip install mujoco")

from executor_arm import check_commands
from rclpy.action import ActionClient
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from swiftvla_ros.action import RunInstruction
from swiftvla_ros.contract import load_contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.datasets.bag_listing import open_bags
from swiftvla_ros.msg import ExecutorState, TeleopState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import leader_state
from swiftvla_ros.replay.commands import replay_commands
from swiftvla_ros.replay.recorded import read_run
from swiftvla_ros.srv import SetInstruction

CONTRACT = load_contract("so101_sim")


class Rig:
    """The simulated robot, the executor, teleop_node and a recorder, and what they say."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        graph.start("sim_robot_node", robot="so101_sim", seed=4)
        for camera in CONTRACT.camera_names:
            graph.start("camera_node", f"camera_{camera}", robot="so101_sim", camera=camera)
        for node in ("joint_state_node", "trajectory_executor_node", "teleop_node"):
            graph.start(node, robot="so101_sim")
        self.states = graph.listen(ExecutorState, "executor_state", qos.EXECUTOR_STATE)
        self.teleop = graph.listen(TeleopState, "teleop_state", qos.LATCHED)

    def record(self, bag: Path) -> Any:
        """Start a recorder, and wait until it hears all that matters; from now on states are kept."""
        recorder = self.graph.start("recorder_node", bag=str(bag), robot="so101_sim")
        names = ["/executor_state", "/observation/state", "/operator_chunk", "/policy_state", "/teleop_state"]

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


@pytest.fixture(scope="module")
def rig(graph: Any) -> Rig:
    """Start a rig."""
    return Rig(graph)


def test_a_leader_does_a_task_through_the_executor(rig: Rig, tmp_path: Path) -> None:
    """Protects demonstrations without a policy: leader → teleop → executor → robot, recorded as steps to imitate."""
    expert = rig.graph.start("expert_node", name="policy", robot="so101_sim", as_leader=True)
    action = ActionClient(rig.graph.node, RunInstruction, "run_instruction")
    rig.graph.wait_until(action.server_is_ready, "the demonstrator takes instructions", 60)
    recorder = rig.record(tmp_path / "run")
    rig.graph.wait_until(lambda: rig.teleop.messages and rig.teleop.last.distance, "a leader is there", 60)
    assert not len(rig.states.last.commanded_position), "nothing moves before somebody engages"
    rig.engage()
    goal = RunInstruction.Goal(instruction="touch the green block")
    goal.timeout.sec = 30
    sent = action.send_goal_async(goal)
    rig.graph.wait_until(sent.done, "the goal is answered", 20)
    result = sent.result().get_result_async()
    rig.lead_until(result.done, "the goal has ended", 60)
    assert result.result().result.outcome == RunInstruction.Result.SUCCEEDED, result.result().result.message
    assert recorder.end() == 0
    assert rig.graph.call(Trigger, "teleop/release", Trigger.Request()).success
    assert expert.end() == 0
    check_commands([state for state in rig.states.messages if len(state.commanded_position)])
    (handle,) = open_bags(tmp_path / "run", CONTRACT).episodes
    episode = handle.load()
    assert episode.expert.mean() > 0.2, "a machine that stands still ends engagements"
    assert episode.corrections is None, "nobody corrected a policy"


def test_a_policy_is_taken_over_and_has_the_arm_again(rig: Rig, checkpoint: Path, tmp_path: Path) -> None:
    """Protects corrections: over a running policy and back inside all limits, and the bag says which steps they are."""
    rig.graph.start("policy_node", robot="so101_sim", checkpoint=str(checkpoint), threads=1)
    recorder = rig.record(tmp_path / "run")
    request = SetInstruction.Request(instruction="touch the green block")
    assert rig.graph.call(SetInstruction, "set_instruction", request, 90).success
    policy, operator = ExecutorState.SOURCE_POLICY, ExecutorState.SOURCE_OPERATOR

    def followed(source: int) -> bool:
        last = rig.states.last
        return last.mode == ExecutorState.FRESH and last.chunk_source == source

    rig.graph.wait_until(lambda: followed(policy), "the policy moves the arm", 60)
    rig.graph.wait_until(lambda: len(rig.states.messages) > 150, "it has moved for a while", 20)
    begin = np.array(rig.states.last.commanded_position)
    leader = rig.graph.node.create_publisher(JointState, CONTRACT.leader.topic, qos.STATE)
    ended = threading.Event()

    def lead() -> None:
        swing, k = np.array([0.2, 0.1, -0.1, 0.1, 0.1, 0.1]), 0
        while not ended.wait(0.02):
            k += 1
            pose = begin + (1 - np.cos(0.03 * k)) * swing
            leader.publish(leader_state(CONTRACT, rig.graph.node.get_clock().now().nanoseconds, pose))

    thread = threading.Thread(target=lead)
    thread.start()
    try:
        rig.engage()
        rig.lead_until(lambda: followed(operator), "the person leads", 20)
        holds = ExecutorState.REFUSAL_OPERATOR_HOLDS
        rig.lead_until(lambda: rig.states.last.last_refusal == holds, "the policy is refused", 30)
        rig.lead_until(lambda: followed(operator), "the person leads on", 20)
        assert rig.graph.call(Trigger, "teleop/release", Trigger.Request()).success
        rig.graph.wait_until(lambda: followed(policy), "the policy has the arm again", 30)
        count = len(rig.states.messages)
        rig.graph.wait_until(lambda: len(rig.states.messages) > count + 100, "it has moved for a while", 20)
    finally:
        ended.set()
        thread.join()
    assert rig.graph.call(SetInstruction, "set_instruction", SetInstruction.Request(instruction="")).success
    assert recorder.end() == 0
    check_commands([state for state in rig.states.messages if len(state.commanded_position)])
    (handle,) = open_bags(tmp_path / "run", CONTRACT, ("unknown",)).episodes
    episode = handle.load()
    assert episode.corrections is not None
    assert 0.1 < episode.corrections.mean() < 0.9
    assert episode.expert[episode.corrections][:-1].mean() > 0.8
    replayed = replay_commands(read_run(Bag(tmp_path / "run")), CONTRACT)
    assert float(np.nanmax(replayed.difference)) == 0.0, replayed.first_difference(0.0)
