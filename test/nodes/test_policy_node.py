# SPDX-License-Identifier: Apache-2.0
"""policy_node as a process, fed by the real camera and joint state nodes: when it infers, and how it is told."""

import math
import signal
from typing import Any

import pytest
from builtin_interfaces.msg import Duration

from swiftvla_ros.action import RunInstruction
from swiftvla_ros.contract import load_contract
from swiftvla_ros.msg import ActionChunk, ExecutorState, InstructionEffect, PolicyState, TaskVerdict
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.srv import ProbePolicy, SetInstruction

CONTRACT = load_contract("so101_sim")
Result = RunInstruction.Result


class PolicyRig:
    """The running policy graph and the test's ends of it."""

    def __init__(self, graph: Any, sensors: Any, checkpoint: Any) -> None:
        self.graph, self.sensors = graph, sensors
        for name in CONTRACT.camera_names:
            graph.start("camera_node", f"camera_{name}", robot="so101_sim", camera=name)
        self.joints = graph.start("joint_state_node", robot="so101_sim")
        self.process = graph.start(
            "policy_node", robot="so101_sim", checkpoint=str(checkpoint), threads=1, compare_words=True
        )
        self.chunks = graph.listen(ActionChunk, "action_chunk", qos.CHUNK)
        self.states = graph.listen(PolicyState, "policy_state", qos.LATCHED)
        self.verdicts = graph.node.create_publisher(TaskVerdict, "task_verdict", qos.LATCHED)
        self.effects = graph.listen(InstructionEffect, "instruction_effect", qos.LATCHED)
        self.executor = graph.node.create_publisher(ExecutorState, "executor_state", qos.EXECUTOR_STATE)
        self.action = graph.action_client(RunInstruction, "run_instruction")
        graph.wait_until(lambda: self.states.messages, "policy_node is active", 90)

    def instruct(self, text: str) -> SetInstruction.Response:
        """Call the service."""
        return self.graph.call(SetInstruction, "set_instruction", SetInstruction.Request(instruction=text))

    def run(self, text: str, timeout_s: float = 0.0, feedback: Any = None) -> Any:
        """Send a goal; return its handle."""
        goal = RunInstruction.Goal(instruction=text)
        goal.timeout = Duration(sec=int(timeout_s), nanosec=round(timeout_s % 1 * 1e9))
        self.graph.wait_until(self.action.server_is_ready, "the action is there")
        future = self.action.send_goal_async(goal, feedback)
        self.graph.wait_until(future.done, "the goal is answered")
        return future.result()

    def result(self, handle: Any) -> Any:
        """Wait for a goal's result."""
        future = handle.get_result_async()
        self.graph.wait_until(future.done, "the goal has ended")
        return future.result().result

    def wait_for_chunk(self, what: str = "a chunk comes") -> ActionChunk:
        """Wait for a chunk from now on."""
        seen = len(self.chunks.messages)
        self.graph.wait_until(lambda: len(self.chunks.messages) > seen, what, 20)
        return self.chunks.last

    def wait_for_reason(self, *parts: str) -> None:
        """Wait until policy_state says why there are no chunks."""
        self.graph.wait_until(
            lambda: not self.states.last.ready and all(part in self.states.last.reason for part in parts),
            f"policy_state gives a reason with {parts}",
        )


@pytest.fixture(scope="module")
def policy(graph: Any, sensors: Any, checkpoint: Any) -> PolicyRig:
    """Start the policy once for all tests of this file."""
    return PolicyRig(graph, sensors, checkpoint)


def test_chunks_tell_where_they_come_from(policy: PolicyRig) -> None:
    """Each chunk carries all that is needed to compute it again; its observation lies within the contract's slop."""
    answer = policy.instruct("  pick up the red block ")
    assert answer.success
    chunk = policy.wait_for_chunk()
    assert chunk.instruction == "pick up the red block"
    assert chunk.instruction_id == answer.instruction_id > 0
    assert tuple(chunk.joint_names) == CONTRACT.joint_names
    assert len(chunk.positions) == chunk.rows * len(CONTRACT.joints)
    assert all(map(math.isfinite, chunk.positions))
    assert chunk.step.nanosec == round(CONTRACT.policy.step_s * 1e9)
    assert len(chunk.checkpoint_sha256) == 64
    assert tuple(chunk.camera_names) == CONTRACT.camera_names
    stamps = [stamp_ns(t) for t in chunk.camera_stamps]
    assert stamp_ns(chunk.header.stamp) == min(stamps)
    for ns in (*stamps, stamp_ns(chunk.state_stamp)):
        assert abs(ns - min(stamps)) <= CONTRACT.policy.pair_slop_s * 1e9
    times = [max(stamps), *(stamp_ns(t) for t in (chunk.observation_ready, chunk.inference_start, chunk.inference_end))]
    assert times == sorted(times)
    policy.graph.wait_until(lambda: policy.states.last.ready, "policy_state says ready")
    assert list(policy.states.last.latency_stages) == ["observation", "wait", "inference"]


def test_every_chunk_is_from_a_newer_observation(policy: PolicyRig) -> None:
    """Observations are used once and in order."""
    policy.wait_for_chunk()
    policy.wait_for_chunk()
    stamps = [stamp_ns(chunk.header.stamp) for chunk in policy.chunks.messages]
    assert stamps == sorted(set(stamps))


def test_an_instruction_is_acknowledged_when_it_moves_the_arm(policy: PolicyRig) -> None:
    """Queued is not done: the effect names the first command of a chunk with the new words; a probe moves nothing."""
    answer = policy.instruct("touch the red block")
    assert answer.message.startswith("queued")
    chunk = policy.wait_for_chunk()
    policy.graph.wait_until(lambda: policy.chunks.last.instruction_id == answer.instruction_id, "the words are read")
    assert not [e for e in policy.effects.messages if e.instruction_id == answer.instruction_id]
    chunk = policy.chunks.last
    followed = ExecutorState(mode=ExecutorState.FRESH, chunk_id=chunk.chunk_id, chunk_stamp=chunk.header.stamp)
    followed.chunk_source = ExecutorState.SOURCE_POLICY
    followed.chunk_first_command = policy.graph.node.get_clock().now().to_msg()

    def told() -> bool:
        policy.executor.publish(followed)
        return bool(policy.effects.messages) and policy.effects.last.instruction_id == answer.instruction_id

    policy.graph.wait_until(told, "the effect is told")
    assert policy.effects.last.header.stamp == followed.chunk_first_command
    # Chunks go on while the first one is compared with another without words.
    assert 0 <= policy.effects.last.words_matter < math.inf
    probe = policy.graph.call(ProbePolicy, "policy/probe", ProbePolicy.Request(noise_seed=3))
    assert probe.success, probe.message
    assert (probe.chunk.chunk_id, probe.chunk.instruction, probe.chunk.noise_seed) == (0, "", 3)
    assert probe.chunk.rows == chunk.rows
    assert all(number.chunk_id for number in policy.chunks.messages)


@pytest.mark.parametrize("camera", CONTRACT.camera_names)
def test_a_frozen_camera_stops_the_policy(policy: PolicyRig, camera: str) -> None:
    """With one camera frozen no chunk comes, the camera is named, and the policy goes on when the camera does."""
    policy.wait_for_chunk()
    policy.sensors.frozen.add(camera)
    policy.wait_for_reason(f"camera '{camera}' stopped")
    assert policy.states.last.dropped_stale > 0
    chunks, reports = len(policy.chunks.messages), len(policy.states.messages)
    policy.graph.wait_until(lambda: len(policy.states.messages) >= reports + 3, "policy_state goes on")
    assert len(policy.chunks.messages) == chunks
    policy.sensors.frozen.clear()
    policy.wait_for_chunk("the policy goes on")


def test_an_image_of_another_size_stops_the_policy(policy: PolicyRig) -> None:
    """A driver that changes its resolution in operation looks like a stopped camera to the policy."""
    policy.sensors.size["wrist"] = (320, 240)
    policy.wait_for_reason("camera 'wrist' stopped")
    policy.sensors.size["wrist"] = (640, 480)
    policy.wait_for_chunk("the policy goes on")


def test_nan_in_joint_states_stops_the_policy(policy: PolicyRig) -> None:
    """A joint state with NaN is dropped with an error; the policy infers no more until good ones come."""
    policy.sensors.position[2] = math.nan
    policy.wait_for_reason("joint state", "stopped")
    assert "elbow_flex = nan" in policy.joints.output()
    policy.sensors.position[2] = CONTRACT.rest[2]
    policy.wait_for_chunk("the policy goes on")


def test_permuted_joint_names_give_the_same_chunks(policy: PolicyRig) -> None:
    """A driver that changes the order of its joints changes nothing: joints go by name."""
    before = policy.wait_for_chunk()
    policy.sensors.joint_order.reverse()
    policy.wait_for_chunk()
    policy.wait_for_chunk()
    after = policy.wait_for_chunk()
    policy.sensors.joint_order.reverse()
    # The fake picture, the state and the noise are the same, so the same chunk comes out.
    assert list(after.positions) == pytest.approx(list(before.positions), abs=1e-4)


def test_the_instruction_changes_while_running(policy: PolicyRig) -> None:
    """The next chunk follows the new words, under a new number."""
    first = policy.instruct("pick up the red block")
    policy.wait_for_chunk()
    second = policy.instruct("touch the blue block")
    assert second.instruction_id == first.instruction_id + 1
    policy.graph.wait_until(
        lambda: policy.chunks.last.instruction == "touch the blue block", "a chunk has the new words"
    )
    assert policy.chunks.last.instruction_id == second.instruction_id
    assert policy.states.last.instruction == "touch the blue block"


@pytest.mark.parametrize(
    ("text", "why"), [("", "empty"), ("   ", "empty"), ("x" * 300, "256"), ("ξ" * 250, "tokens"), ("a\nb", "control")]
)
def test_a_refused_instruction_says_why_and_changes_nothing(policy: PolicyRig, text: str, why: str) -> None:
    """Empty and over-long text is refused by service and action alike, and the arm does what it did."""
    kept = policy.instruct("pick up the green block")
    answer = policy.instruct(text)
    assert not answer.success
    assert why in answer.message
    result = policy.result(policy.run(text))
    assert result.outcome == Result.REFUSED
    assert why in result.message
    assert policy.wait_for_chunk().instruction_id == kept.instruction_id


def test_a_goal_ends_by_verdict(policy: PolicyRig) -> None:
    """DONE for this goal's number ends it with success; a verdict on another instruction does not."""
    feedback: list[Any] = []
    handle = policy.run("pick up the red block", feedback=feedback.append)
    chunk = policy.wait_for_chunk()
    number = chunk.instruction_id
    policy.graph.wait_until(lambda: feedback and feedback[-1].feedback.chunks > 0, "feedback counts chunks")

    def verdict(instruction_id: int) -> TaskVerdict:
        message = TaskVerdict(instruction_id=instruction_id, verdict=TaskVerdict.DONE, text="block lifted")
        message.header.stamp = policy.graph.node.get_clock().now().to_msg()
        return message

    policy.verdicts.publish(verdict(number - 1))
    policy.wait_for_chunk()
    policy.verdicts.publish(verdict(number))
    result = policy.result(handle)
    assert result.success
    assert result.outcome == Result.SUCCEEDED
    assert result.instruction_id == number
    assert result.message == "block lifted"
    policy.wait_for_reason("no instruction")


def test_a_goal_is_cancelled(policy: PolicyRig) -> None:
    """After cancelling there are no more chunks."""
    handle = policy.run("pick up the red block")
    policy.wait_for_chunk()
    future = handle.cancel_goal_async()
    policy.graph.wait_until(future.done, "the cancellation is answered")
    result = policy.result(handle)
    assert result.outcome == Result.CANCELED
    policy.wait_for_reason("no instruction")


def test_a_goal_times_out(policy: PolicyRig) -> None:
    """The time limit is kept, and said."""
    result = policy.result(policy.run("pick up the red block", timeout_s=0.5))
    assert result.outcome == Result.TIMEOUT
    assert "0.5 s" in result.message


def test_a_newer_goal_replaces_the_older(policy: PolicyRig) -> None:
    """One instruction at a time: the older goal ends, named reason, and the newer one runs on."""
    older = policy.run("pick up the red block")
    policy.wait_for_chunk()
    newer = policy.run("touch the blue block", timeout_s=1.0)
    result = policy.result(older)
    assert result.outcome == Result.CANCELED
    assert "touch the blue block" in result.message
    policy.graph.wait_until(
        lambda: policy.chunks.last.instruction == "touch the blue block", "the newer one is followed"
    )
    assert policy.result(newer).outcome == Result.TIMEOUT


def test_a_process_that_still_loads_ends_at_once(graph: Any, checkpoint: Any) -> None:
    """A signal does not have to wait for torch and the checkpoint, and a second one does no harm."""
    process = graph.start("policy_node", "loading", environment={}, robot="so101_sim", checkpoint=str(checkpoint))
    graph.wait_until(lambda: "loading/get_state" in str(graph.node.get_service_names_and_types()), "it has begun", 90)
    process.process.send_signal(signal.SIGINT)
    assert process.end() == 0, process.output()


def test_the_process_ends_cleanly(policy: PolicyRig) -> None:
    """SIGINT in the middle of a goal ends it, and the process, with status 0."""
    handle = policy.run("pick up the red block")
    policy.wait_for_chunk()
    assert handle.accepted
    assert policy.process.end() == 0, policy.process.output()
