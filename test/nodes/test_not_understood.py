# SPDX-License-Identifier: Apache-2.0
"""policy_node is told what it can't read: it says so, and nothing more is published that could move the arm."""

from typing import Any

import pytest

from swiftvla_ros.action import RunInstruction
from swiftvla_ros.contract import load_contract
from swiftvla_ros.msg import ActionChunk, PolicyState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.srv import SetInstruction

CONTRACT = load_contract("so101_sim")


class Rig:
    """The policy with its sensors, and the test's ends of it."""

    def __init__(self, graph: Any, checkpoint: Any) -> None:
        self.graph = graph
        for name in CONTRACT.camera_names:
            graph.start("camera_node", f"camera_{name}", robot="so101_sim", camera=name)
        graph.start("joint_state_node", robot="so101_sim")
        graph.start("policy_node", robot="so101_sim", checkpoint=str(checkpoint), threads=1)
        self.chunks = graph.listen(ActionChunk, "action_chunk", qos.CHUNK)
        self.states = graph.listen(PolicyState, "policy_state", qos.LATCHED)
        self.action = graph.action_client(RunInstruction, "run_instruction")
        graph.wait_until(lambda: self.states.messages, "policy_node is active", 90)

    def instruct(self, text: str) -> SetInstruction.Response:
        """Call the service."""
        return self.graph.call(SetInstruction, "set_instruction", SetInstruction.Request(instruction=text))

    def wait_for_chunk(self) -> ActionChunk:
        """Wait for a chunk from now on."""
        seen = len(self.chunks.messages)
        self.graph.wait_until(lambda: len(self.chunks.messages) > seen, "a chunk comes", 20)
        return self.chunks.last

    def wait_for_states(self, count: int) -> None:
        """Wait for so many reports from now on: five come in a second, and a chunk takes a tenth of that."""
        seen = len(self.states.messages)
        self.graph.wait_until(lambda: len(self.states.messages) >= seen + count, "policy_state goes on", 20)


@pytest.fixture(scope="module")
def policy(graph: Any, sensors: Any, checkpoint: Any) -> Rig:  # noqa: ARG001
    """Start the policy once for all tests of this file."""
    return Rig(graph, checkpoint)


def test_other_words_are_read_as_known_ones(policy: Rig) -> None:
    """Chunks carry the sentence that the policy really got, so that a replay needs nothing else."""
    answer = policy.instruct("Could you grab the crimson cube?")
    assert answer.success, answer.message
    assert "'Could you grab the crimson cube?' is understood" in answer.message
    assert policy.wait_for_chunk().instruction == "pick up the red block"
    assert policy.states.last.instruction == "pick up the red block"


@pytest.mark.parametrize("text", ["nimm den blauen Block", "asdf qwer", "make me a sandwich"])
def test_what_is_not_understood_moves_nothing(policy: Rig, text: str) -> None:
    """The arm was under way: no more chunks come, policy_state says why, and known words bring it back."""
    assert policy.instruct("touch the green block").success
    policy.wait_for_chunk()
    answer = policy.instruct(text)
    assert not answer.success
    assert f"not understood: '{text}'" in answer.message
    policy.graph.wait_until(
        lambda: not policy.states.last.ready and policy.states.last.reason.startswith(f"not understood: '{text}'"),
        "policy_state says so",
    )
    assert policy.states.last.instruction == ""
    # One that was under way may still have come.
    policy.wait_for_states(2)
    seen = len(policy.chunks.messages)
    policy.wait_for_states(5)
    assert len(policy.chunks.messages) == seen
    assert policy.states.last.reason.startswith("not understood"), "it goes on saying so"
    assert policy.instruct("touch the green block").success
    policy.wait_for_chunk()
    policy.graph.wait_until(lambda: policy.states.last.ready, "the policy goes on", 20)


def test_an_action_that_is_not_understood_is_refused_and_ends_the_running_one(policy: Rig) -> None:
    """Whoever waits for a goal learns that other words came, and that nobody knew what they mean."""
    policy.graph.wait_until(policy.action.server_is_ready, "the action is there")

    def send(text: str) -> Any:
        future = policy.action.send_goal_async(RunInstruction.Goal(instruction=text))
        policy.graph.wait_until(future.done, "the goal is answered")
        return future.result().get_result_async()

    running = send("pick up the red block")
    policy.wait_for_chunk()
    strange = send("ramasse le bloc rouge")
    policy.graph.wait_until(lambda: strange.done() and running.done(), "both have ended")
    assert strange.result().result.outcome == RunInstruction.Result.REFUSED
    assert "not understood" in strange.result().result.message
    assert running.result().result.outcome == RunInstruction.Result.CANCELED
    assert "not understood" in running.result().result.message
