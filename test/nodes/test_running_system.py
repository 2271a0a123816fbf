# SPDX-License-Identifier: Apache-2.0
"""The whole graph as processes, on the simulated robot. Parts that fail in motion are in ``test/faults``."""

import itertools
import signal
from typing import Any

import numpy as np
import pytest

# Not mujoco itself: the backend chooses OpenGL's platform before MuJoCo is imported.
pytest.importorskip("swiftvla_ros.sim.backend", reason="mujoco is not installed: pip install mujoco")

from executor_arm import check_commands
from sensor_msgs.msg import Image, JointState

from swiftvla_ros.contract import load_contract
from swiftvla_ros.msg import ActionChunk, ExecutorState, PolicyState, TaskVerdict
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.srv import SetInstruction

CONTRACT = load_contract("so101_sim")


class System:
    """All nodes, and what they say."""

    def __init__(self, graph: Any, checkpoint: Any) -> None:
        self.graph, self.checkpoint = graph, str(checkpoint)
        self.before = len(graph.processes)
        self.robot = graph.start("sim_robot_node", robot="so101_sim", seed=3)
        for name in CONTRACT.camera_names:
            graph.start("camera_node", f"camera_{name}", robot="so101_sim", camera=name)
        graph.start("joint_state_node", robot="so101_sim")
        self.executor = graph.start("trajectory_executor_node", robot="so101_sim")
        self.images = graph.listen(Image, CONTRACT.camera("front").topic, qos.CAMERA_INPUT)
        self.measured = graph.listen(JointState, "observation/state", qos.STATE_INPUT)
        self.chunks = graph.listen(ActionChunk, "action_chunk", qos.CHUNK)
        self.states = graph.listen(ExecutorState, "executor_state", qos.EXECUTOR_STATE)
        self.policy_states = graph.listen(PolicyState, "policy_state", qos.LATCHED)
        self.verdicts = graph.listen(TaskVerdict, "task_verdict", qos.LATCHED)
        self.start_policy()

    def alive(self) -> list[Any]:
        """Its processes that have not ended."""
        return [entry for entry in self.graph.processes[self.before :] if entry.process.poll() is None]

    def start_policy(self) -> None:
        """Start the policy, and wait until it is active."""
        self.policy_states.clear()
        self.policy = self.graph.start(
            "policy_node", robot="so101_sim", checkpoint=self.checkpoint, threads=1, second_opinion=False
        )
        self.graph.wait_until(lambda: self.policy_states.messages, "policy_node is active", 90)

    def instruct(self, text: str) -> int:
        """Give an instruction; return its number."""
        answer = self.graph.call(SetInstruction, "set_instruction", SetInstruction.Request(instruction=text))
        assert answer.success
        return int(answer.instruction_id)

    def wait_for_mode(self, mode: int) -> None:
        """Wait for a mode of the executor."""
        try:
            self.graph.wait_until(lambda: self.states.messages and self.states.last.mode == mode, f"mode {mode}", 40)
        except pytest.fail.Exception as error:
            pytest.fail(f"{error}; executor: {self.states.last}; policy: {self.policy_states.last}")

    def check_limits(self) -> None:
        """No commanded position so far left a limit or jumped, from one pose held to the next."""
        pieces = [
            list(piece)
            for commanding, piece in itertools.groupby(self.states.messages, lambda s: bool(len(s.commanded_position)))
            if commanding
        ]
        assert pieces
        for piece in pieces:
            check_commands(piece)


@pytest.fixture(scope="module")
def system(graph: Any, checkpoint: Any) -> System:
    """Start everything once for the tests of this file, which follow one another."""
    return System(graph, checkpoint)


def test_the_robot_talks_as_its_contract_says(system: System) -> None:
    """Images of the source size and joint states, both stamped with the present."""
    system.graph.wait_until(lambda: system.images.messages and system.measured.messages, "the robot talks", 30)
    image = system.images.last
    assert (image.width, image.height) == CONTRACT.camera("front").source_size
    now_ns = int(system.graph.node.get_clock().now().nanoseconds)
    assert 0 <= now_ns - stamp_ns(system.measured.last.header.stamp) < 1_000_000_000


def test_an_instruction_moves_the_arm(system: System) -> None:
    """From the words to motion: chunks, commands, and measured joints that follow them."""
    rest = np.array(system.measured.last.position)
    number = system.instruct("pick up the red block")
    system.wait_for_mode(ExecutorState.FRESH)
    assert system.chunks.last.instruction_id == number
    system.graph.wait_until(
        lambda: np.abs(np.array(system.measured.last.position) - rest).max() > 0.05, "the arm moves", 20
    )
    assert np.isfinite(system.states.last.tracking_error).all()
    system.graph.wait_until(
        lambda: system.verdicts.last is not None and system.verdicts.last.instruction_id == number,
        "the robot judges this instruction",
    )


def test_the_instruction_changes_in_motion(system: System) -> None:
    """Another block, while the arm moves: chunks change over, and no command leaves a limit or jumps."""
    number = system.instruct("touch the blue block")
    system.graph.wait_until(lambda: system.chunks.last.instruction_id == number, "chunks follow the new words")
    chunk = system.chunks.last.chunk_id
    system.graph.wait_until(lambda: system.states.last.chunk_id >= chunk + 3, "the executor follows them")
    system.check_limits()


def test_a_scene_is_reset(system: System) -> None:
    """Executor idle, then the robot's reset: the arm is at rest in the next scene, and nothing fights it."""
    assert system.policy.end() == 0, system.policy.output()
    system.wait_for_mode(ExecutorState.HOLD)
    system.graph.wait_until(lambda: system.graph.trigger("trajectory_executor/reset").success, "the executor is reset")
    answer = system.graph.trigger("sim_robot/reset")
    assert answer.success
    assert answer.message == "scene 4"
    system.graph.wait_until(
        lambda: np.allclose(system.measured.last.position, CONTRACT.rest, atol=0.05), "the arm is at rest"
    )


def test_all_end_cleanly(system: System) -> None:
    """SIGINT to all processes at once, as Ctrl-C sends it: status 0 each."""
    if not system.alive():  # run again: one that ended may have held a lock that others wait for
        system = System(system.graph, system.checkpoint)
    alive = system.alive()
    assert len(alive) >= 5
    for entry in alive:
        entry.process.send_signal(signal.SIGINT)
    for entry in alive:
        assert entry.end() == 0, (entry.name, entry.output())
