# SPDX-License-Identifier: Apache-2.0
"""The scripted demonstrator in the policy's place: instructions in, action chunks out; needs the simulated robot.

It knows where the blocks lie (``sim_robot/blocks``), rehearses the whole demonstration in a simulation of its own, and
gives the executor chunks of it as a policy does. So recordings of it are made by the very nodes, topics and limits that
a policy's are. With ``as_leader`` it moves a leader arm instead, as a person would, for teleop_node to follow.
"""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import PoseArray
from numpy.typing import NDArray
from sensor_msgs.msg import JointState

from swiftvla_ros.contract.executor_codes import TaskVerdictCode
from swiftvla_ros.msg import ActionChunk, ExecutorState, TaskVerdict
from swiftvla_ros.nodes.parts.instructions import InstructionServer
from swiftvla_ros.nodes.parts.observation_topics import subscribe_to_state
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import header, leader_state, to_duration, to_time
from swiftvla_ros.nodes.ros.parameters import Allowed
from swiftvla_ros.observation.message_fields import TaskVerdictMessage, read_executor_state, read_task_verdict, stamp_ns
from swiftvla_ros.observation.observation import InstructionError
from swiftvla_ros.policy.inference_thread import InferenceStatus, Instruction
from swiftvla_ros.sim.block_layout import SceneLayout
from swiftvla_ros.sim.language import COLORS

if TYPE_CHECKING:
    # MuJoCo, an extra, is imported at configure.
    from swiftvla_ros.sim.expert.plan_demonstration import Demonstration, DemonstrationPlanner

_NS = 1_000_000_000
# The motion begins so long after it was planned: the chunk has to reach the executor.
_LEAD_S = 0.1
# A leader says where it is so often.
_LEADER_S = 0.02
# Rows of a chunk; a policy has as many.
_ROWS = 16


@dataclass
class _Show:
    """One instruction being shown."""

    accepted_ns: int = 0
    planning: Future[Demonstration] | None = None
    motion: Demonstration | None = None
    begin_ns: int = 0
    problem: str = ""
    done: TaskVerdictMessage | None = None


@dataclass
class ExpertParts:
    """The simulation in which it plans, what it was told and saw, and where it speaks."""

    planner: DemonstrationPlanner
    thread: ThreadPoolExecutor
    instructions: InstructionServer
    chunks: Any
    leader: Any
    show: _Show = field(default_factory=_Show)
    layout: tuple[int, SceneLayout] | None = None
    measured: tuple[int, NDArray[np.float64]] | None = None
    commanded: NDArray[np.float64] | None = None
    led: NDArray[np.float64] | None = None
    count: int = 0


class ExpertNode(ManagedNode[ExpertParts]):
    """Serves instructions as the policy node does; all in the executor's thread but the planning, which has its own."""

    def __init__(self) -> None:
        super().__init__("policy")
        self.describe("chunk_rate_hz", 5.0, "chunks a second", Allowed(above=0))
        self.describe("as_leader", False, "move a leader arm, which teleop_node follows, instead of sending chunks")
        self.describe("scene", "table", "which variant of the scene the simulated robot shows")

    def setup(self) -> ExpertParts:
        """Build the simulation and open the topics."""
        from swiftvla_ros.sim.expert.plan_demonstration import DemonstrationPlanner
        from swiftvla_ros.sim.tasks.registry import scene_for

        rate_hz = float(self.value("chunk_rate_hz"))
        planner = DemonstrationPlanner(self.contract, scene_for((), str(self.value("scene"))))
        instructions = InstructionServer(self, self._known, self._follow, self._status, device="cpu")
        subscribe_to_state(self, self._take_state)
        self.subscribe(PoseArray, "sim_robot/blocks", self._take_blocks, qos.STATE_INPUT)
        self.subscribe(TaskVerdict, "task_verdict", self._judge, qos.LATCHED)
        self.subscribe(ExecutorState, "executor_state", self._watch_executor, qos.STATE_INPUT)
        chunks = leader = None
        if self.value("as_leader"):
            leader = self.publisher(JointState, self.contract.leader.topic, qos.STATE)
            self.timer(_LEADER_S, self._demonstrate)
        else:
            chunks = self.publisher(ActionChunk, "action_chunk", qos.CHUNK)
            self.timer(1 / rate_hz, self._demonstrate)
        return ExpertParts(planner, ThreadPoolExecutor(1), instructions, chunks, leader)

    def start(self) -> None:
        """Take instructions."""
        self.parts.instructions.accept()

    def stop(self) -> None:
        """End the running goal."""
        if self._parts is not None and self._parts.instructions.accepting:
            self._parts.instructions.refuse_all("the expert node was deactivated")
            self._parts.instructions.publish_state()

    def teardown(self, parts: ExpertParts) -> None:
        """Close the simulation."""
        parts.thread.shutdown(cancel_futures=True)
        parts.planner.close()

    def _take_state(self, stamp: int, positions: NDArray[np.float64]) -> None:
        self.parts.measured = stamp, positions

    def _take_blocks(self, message: PoseArray) -> None:
        poses = np.array(
            [[p.position.x, p.position.y, 2 * math.atan2(p.orientation.z, p.orientation.w)] for p in message.poses]
        )
        count = len(COLORS)
        # Of another scene the robot would publish more or fewer; then the node goes on waiting.
        if len(poses) == count + len(self.parts.planner.scene.fixtures):
            layout = SceneLayout(poses[:count, :2], poses[:count, 2], poses[count:])
            self.parts.layout = stamp_ns(message.header.stamp), layout

    def _watch_executor(self, message: ExecutorState) -> None:
        tick = read_executor_state(message)
        self.parts.instructions.watch(tick)
        self.parts.commanded = tick.commanded_of(self.contract.joint_names)

    def _judge(self, message: TaskVerdict) -> None:
        """Take a verdict; success ends the instruction when the demonstration is over: it shows how to stay, too."""
        verdict = read_task_verdict(message)
        if verdict.verdict == TaskVerdictCode.DONE:
            self.parts.show.done = verdict
        else:
            self.parts.instructions.judge(verdict)

    def _follow(self, _instruction: Instruction | None) -> None:
        self.parts.show = _Show(self.now_ns())
        self.parts.instructions.publish_state()

    def _status(self) -> InferenceStatus:
        parts = self.parts
        if not self.active:
            return InferenceStatus(reason="not active")
        if parts.instructions.current is None:
            return InferenceStatus(chunks=parts.count)
        reason = parts.show.problem
        if not reason and parts.measured is None:
            reason = "waiting for joint states"
        elif not reason and parts.layout is None:
            reason = f"waiting for the blocks of scene {parts.planner.scene.name}"
        return InferenceStatus(reason=reason, chunks=parts.count)

    def _demonstrate(self) -> None:
        """Give the executor the next rows, or say where the leader is."""
        if self.active and self.parts.leader is not None:
            self._lead()
        parts, show = self.parts, self.parts.show
        over = show.motion is not None and self.now_ns() > show.begin_ns + show.motion.duration_s * _NS
        if self.active and over and show.done is not None:
            parts.instructions.judge(show.done)
        instruction = parts.instructions.current if self.active else None
        if instruction is None or parts.measured is None or parts.layout is None or show.problem:
            return
        if parts.layout[0] <= show.accepted_ns or parts.measured[0] <= show.accepted_ns:
            return
        if show.motion is None:
            self._plan(instruction, show, parts.layout[1], parts.measured[1])
        if show.motion is not None and parts.leader is None:
            self._publish(instruction, show.motion, parts.measured[0])

    def _plan(self, instruction: Instruction, show: _Show, layout: SceneLayout, measured: NDArray[np.float64]) -> None:
        """Begin to plan, or take the plan that is ready: a leader must go on saying where it is meanwhile."""
        from swiftvla_ros.sim.expert.plan_demonstration import DemonstrationError
        from swiftvla_ros.sim.tasks.registry import parse

        parts = self.parts
        if show.planning is None:
            task = parse(instruction.text)
            assert task is not None, "checked before it was accepted"
            arm = measured if parts.commanded is None else parts.commanded
            show.planning = parts.thread.submit(parts.planner.plan, task, layout, arm)
        if not show.planning.done():
            return
        try:
            show.motion = show.planning.result()
        except DemonstrationError as error:
            show.problem = str(error)
            self.get_logger().error(f"'{instruction.text}': {error}")
            return
        show.begin_ns = self.now_ns() + round(_LEAD_S * _NS)
        took_s = (show.begin_ns - show.accepted_ns) / _NS
        self.get_logger().info(
            f"'{instruction.text}': {show.motion.duration_s:.1f} s of motion, planned in {took_s:.2f} s"
        )

    def _lead(self) -> None:
        """Say where the leader is: on the motion that is shown, else where it was left.

        While nobody commands the arm it is brought to where that is, as a person does before engaging.
        """
        parts, show, now_ns = self.parts, self.parts.show, self.now_ns()
        if show.motion is not None:
            parts.led = show.motion.at(np.array([(now_ns - show.begin_ns) / _NS]))[0]
        elif parts.measured is not None and (parts.led is None or parts.commanded is None):
            parts.led = parts.measured[1]
        if parts.led is not None:
            parts.leader.publish(leader_state(self.contract, now_ns, parts.led))

    def _publish(self, instruction: Instruction, motion: Demonstration, measured_ns: int) -> None:
        step_s, now_ns, begin_ns = self.contract.policy.step_s, self.now_ns(), self.parts.show.begin_ns
        stamp = max(measured_ns, begin_ns - round(_LEAD_S * _NS))
        rows = motion.at(np.arange(_ROWS, dtype=np.float64) * step_s + (stamp - begin_ns) / _NS)
        self.parts.count += 1
        self.parts.instructions.effect.computed(instruction, stamp)
        self.parts.chunks.publish(
            ActionChunk(
                header=header(stamp, self.contract.base_frame),
                step=to_duration(round(step_s * _NS)),
                joint_names=list(self.contract.joint_names),
                rows=len(rows),
                positions=rows.ravel().tolist(),
                chunk_id=self.parts.count,
                instruction=instruction.text,
                instruction_id=instruction.id,
                state_stamp=to_time(measured_ns),
                observation_ready=to_time(stamp),
                inference_start=to_time(now_ns),
                inference_end=to_time(self.now_ns()),
            )
        )

    def _known(self, text: str) -> str:
        """The instruction, where the scene has what it names."""
        from swiftvla_ros.sim.tasks.registry import examples, parse

        scene = self.parts.planner.scene
        if parse(text, scene) is None:
            raise InstructionError(
                f"'{text}': there are a red, a green and a blue block; say for example {examples(scene)}"
            )
        return text


main = script_of(ExpertNode)

if __name__ == "__main__":
    main()
