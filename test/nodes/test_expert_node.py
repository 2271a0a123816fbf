# SPDX-License-Identifier: Apache-2.0
"""The demonstrator over DDS, and that an episode of the recording is what was seen live."""

from pathlib import Path
from typing import Any

import numpy as np

from swiftvla_ros.contract import load_contract
from swiftvla_ros.episodes.datasets.bag_listing import open_bags


def test_a_demonstration_is_recorded_as_it_was_seen(graph: Any, tmp_path: Path) -> None:
    """Protects live-to-frame parity: each frame of the episode is a live message, bit for bit, and the task is done."""
    from sensor_msgs.msg import Image, JointState

    from swiftvla_ros.action import RunInstruction
    from swiftvla_ros.msg import ExecutorState, PolicyState
    from swiftvla_ros.nodes.ros import qos
    from swiftvla_ros.observation.image_decoding import rgb_of
    from swiftvla_ros.observation.message_fields import stamp_ns

    contract = load_contract("so101_sim")
    inboxes = {c: graph.listen(Image, f"observation/{c}", qos.CAMERA_INPUT) for c in contract.camera_names}
    states = graph.listen(JointState, "observation/state", qos.STATE_INPUT)
    executor = graph.listen(ExecutorState, "executor_state", qos.STATE_INPUT)
    policy = graph.listen(PolicyState, "policy_state", qos.LATCHED)
    common = {"robot": "so101_sim"}
    graph.start("sim_robot_node", seed=4, **common)
    for camera in contract.camera_names:
        graph.start("camera_node", name=f"camera_{camera}", camera=camera, **common)
    for node in ("joint_state_node", "trajectory_executor_node", "expert_node"):
        graph.start(node, name="policy" if node == "expert_node" else "", **common)
    recorder = graph.start("recorder_node", bag=str(tmp_path / "run"), **common)
    action = graph.action_client(RunInstruction, "run_instruction")
    graph.wait_until(action.server_is_ready, "the demonstrator takes instructions", 60)
    parts = [*inboxes.values(), states, executor, policy]
    graph.wait_until(lambda: all(inbox.messages for inbox in parts), "every node publishes", 60)

    def recorded(topic: str) -> bool:
        return any(info.node_name == "recorder" for info in graph.node.get_subscriptions_info_by_topic(topic))

    names = [*(f"/observation/{c}" for c in inboxes), "/observation/state", "/executor_state", "/policy_state"]
    graph.wait_until(lambda: all(recorded(name) for name in [*names, "/task_verdict"]), "the recorder listens", 60)
    goal = RunInstruction.Goal(instruction="touch the green block")
    goal.timeout.sec = 30
    sent = action.send_goal_async(goal)
    graph.wait_until(sent.done, "the goal is answered", 20)
    result = sent.result().get_result_async()
    graph.wait_until(result.done, "the goal has ended", 60)
    assert result.result().result.outcome == RunInstruction.Result.SUCCEEDED, result.result().result.message
    graph.wait_until(lambda: policy.last.instruction_id == 0, "the policy rests", 10)
    assert recorder.end() == 0

    listed = open_bags(tmp_path / "run", contract)
    (handle,) = listed.episodes
    assert not listed.left_out
    steps = [step.observation for step in handle._timeline(decode=True).steps]
    episode = handle.load()
    assert len(episode.state) > 10
    assert episode.expert[3:].mean() > 0.5
    live = {c: {stamp_ns(m.header.stamp): rgb_of(m) for m in inbox.messages} for c, inbox in inboxes.items()}
    positions = {stamp_ns(m.header.stamp): np.array(m.position) for m in states.messages}
    compared = 0
    for row, step in enumerate(steps):
        for camera, stamp in step.image_stamps_ns.items():
            # Sensor topics are best effort: what this test missed says nothing.
            if stamp in live[camera]:
                np.testing.assert_array_equal(episode.images[camera][row], live[camera][stamp])
                compared += 1
        if step.state_stamp_ns in positions:
            np.testing.assert_array_equal(episode.state[row], positions[step.state_stamp_ns].astype(np.float32))
    assert compared > len(steps)
