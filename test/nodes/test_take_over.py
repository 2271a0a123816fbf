# SPDX-License-Identifier: Apache-2.0
"""A person takes the arm over from a running policy, and gives it back."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from executor_arm import check_commands
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from teleop_graph import CONTRACT, TeleopGraph

from swiftvla_ros.episodes.datasets.bag_listing import open_bags
from swiftvla_ros.msg import ExecutorState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import leader_state
from swiftvla_ros.replay.commands import replay_commands
from swiftvla_ros.replay.recorded import open_recording, read_run
from swiftvla_ros.srv import SetInstruction


def test_a_policy_is_taken_over_and_has_the_arm_again(graph: Any, checkpoint: Path, tmp_path: Path) -> None:
    """Protects corrections: over a running policy and back inside all limits, and the bag tells them, and replays."""
    # Its pictures are grey: what the policy makes of them is no matter here, and nothing is rendered.
    rig = TeleopGraph(graph, "loopback_robot_node")
    rig.graph.start("policy_node", robot="so101_sim", checkpoint=str(checkpoint), threads=1, second_opinion=False)
    recorder = rig.record(tmp_path / "run", "/action_chunk")
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
        count = len(rig.states.messages)
        rig.lead_until(lambda: len(rig.states.messages) > count + 100, "the person has led for a while", 20)
        rig.lead_until(lambda: followed(operator), "the person leads on", 20)
        assert rig.graph.call(Trigger, "teleop/release", Trigger.Request()).success
        rig.graph.wait_until(lambda: followed(policy), "the policy has the arm again", 30)
        count = len(rig.states.messages)
        rig.graph.wait_until(lambda: len(rig.states.messages) > count + 100, "it has moved for a while", 20)
    finally:
        ended.set()
        thread.join()
    assert recorder.end() == 0
    check_commands([state for state in rig.states.messages if len(state.commanded_position)])
    (handle,) = open_bags(tmp_path / "run", CONTRACT, ("unknown",)).episodes
    episode = handle.load()
    assert episode.corrections is not None
    assert 0.1 < episode.corrections.mean() < 0.9
    assert episode.expert[episode.corrections][:-1].mean() > 0.8
    replayed = replay_commands(read_run(open_recording(tmp_path / "run")), CONTRACT)
    assert len(replayed.times_ns) > 100
    np.testing.assert_array_equal(replayed.difference, 0, str(replayed.notes))
