# SPDX-License-Identifier: Apache-2.0
"""The scripted demonstrator in the policy's place: instructions in, action chunks out; needs the simulated robot.

It knows where the blocks lie (``sim_robot/blocks``), rehearses the whole demonstration in a simulation of its own, and
gives the executor chunks of it as a policy does. So recordings of it are made by the very nodes, topics and limits that
a policy's are.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import PoseArray
from numpy.typing import NDArray
from sensor_msgs.msg import JointState

from swiftvla_ros.msg import ActionChunk, ExecutorState, PolicyState, TaskVerdict
from swiftvla_ros.nodes.parts.instructions import InstructionServer
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, run
from swiftvla_ros.nodes.ros.messages import header, to_duration, to_time
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.message_fields import measured_positions, stamp_ns
from swiftvla_ros.observation.observation import InstructionError
from swiftvla_ros.policy.inference_thread import InferenceStatus, Instruction
from swiftvla_ros.sim.block_layout import SceneLayout
from swiftvla_ros.sim.language import COLORS

if TYPE_CHECKING:
    # MuJoCo, an extra, is imported at configure.
    from swiftvla_ros.sim.expert.plan_demonstration import Demonstration, DemonstrationPlanner

_NS = 1_000_000_000
_STATE_S = 0.2
_REPEAT_S = 5.0
# The motion begins so long after it was planned: the chunk has to reach the executor.
_LEAD_S = 0.1
# Rows of a chunk; a policy has as many.
_ROWS = 16


class ExpertNode(ManagedNode):
    """Serves instructions as the policy node does; all in the executor's thread."""

    def __init__(self) -> None:
        super().__init__("policy")
        self.describe("chunk_rate_hz", 5.0, "chunks a second")
        self.describe("scene", "table", "which variant of the scene the simulated robot shows")
        self._demonstrator: _Demonstrator | None = None

    def setup(self) -> None:
        """Build the simulation and open the topics."""
        from swiftvla_ros.sim.expert.plan_demonstration import DemonstrationPlanner
        from swiftvla_ros.sim.tasks.registry import scene_for

        rate_hz = float(self.value("chunk_rate_hz"))
        if not rate_hz > 0:
            raise ValueError(f"parameter chunk_rate_hz is {rate_hz}; write a rate above 0")
        scene = scene_for((), str(self.value("scene")))
        self._demonstrator = _Demonstrator(self, DemonstrationPlanner(self.contract, scene), 1 / rate_hz)

    def start(self) -> None:
        """Take instructions."""
        if self._demonstrator is not None:
            self._demonstrator.start()

    def stop(self) -> None:
        """End the running goal."""
        if self._demonstrator is not None:
            self._demonstrator.stop()

    def teardown(self) -> None:
        """Close service, action and simulation."""
        if self._demonstrator is not None:
            self._demonstrator.close()
            self._demonstrator = None


@dataclass
class _Show:
    """One instruction being shown."""

    accepted_ns: int = 0
    motion: Demonstration | None = None
    begin_ns: int = 0
    problem: str = ""
    done: TaskVerdict | None = None


class _Demonstrator:
    """What the configured node has, and does with it."""

    def __init__(self, node: ExpertNode, planner: DemonstrationPlanner, period_s: float) -> None:
        self._node, self._contract, self._planner = node, node.contract, planner
        self._show = _Show()
        self._layout: tuple[int, SceneLayout] | None = None
        self._measured: tuple[int, NDArray[np.float64]] | None = None
        self._commanded: NDArray[np.float64] | None = None
        self._count = 0
        self._chunk_ids = itertools.count(1)
        self._chunks = node.publisher(ActionChunk, "action_chunk", qos.CHUNK)
        self._state = node.publisher(PolicyState, "policy_state", qos.LATCHED)
        self._instructions = InstructionServer(node, node.now_ns, self._known, self._follow, self._status)
        node.subscribe(JointState, "observation/state", self._take_state, qos.STATE_INPUT)
        node.subscribe(PoseArray, "sim_robot/blocks", self._take_blocks, qos.STATE_INPUT)
        node.subscribe(TaskVerdict, "task_verdict", self._judge, qos.LATCHED)
        node.subscribe(ExecutorState, "executor_state", self._watch_executor, qos.STATE_INPUT)
        node.timer(_STATE_S, self._tick)
        node.timer(period_s, self._demonstrate)

    def start(self) -> None:
        """Take instructions."""
        self._instructions.accepting = True
        self._publish_state()

    def stop(self) -> None:
        """End the running goal; may be called twice."""
        if self._instructions.accepting:
            self._instructions.refuse_all("the expert node was deactivated")
            self._publish_state()

    def close(self) -> None:
        """Give service, action and simulation back."""
        self._instructions.destroy()
        self._planner.close()

    def _take_state(self, message: JointState) -> None:
        try:
            positions = measured_positions(message, self._contract.joint_names)
        except JointStateError as error:
            self._node.get_logger().error(f"message refused: {error}", throttle_duration_sec=_REPEAT_S)
            return
        self._measured = stamp_ns(message.header.stamp), positions

    def _take_blocks(self, message: PoseArray) -> None:
        poses = np.array(
            [[p.position.x, p.position.y, 2 * math.atan2(p.orientation.z, p.orientation.w)] for p in message.poses]
        )
        count = len(COLORS)
        # Of another scene the robot would publish more or fewer; then the node goes on waiting.
        if len(poses) == count + len(self._planner.scene.fixtures):
            layout = SceneLayout(poses[:count, :2], poses[:count, 2], poses[count:])
            self._layout = stamp_ns(message.header.stamp), layout

    def _watch_executor(self, state: ExecutorState) -> None:
        self._instructions.watch(state)
        position = np.array(state.commanded_position)
        self._commanded = position if len(position) == len(self._contract.joints) else None

    def _judge(self, verdict: TaskVerdict) -> None:
        """Take a verdict; success ends the instruction when the demonstration is over: it shows how to stay, too."""
        if verdict.verdict == TaskVerdict.DONE:
            self._show.done = verdict
        else:
            self._instructions.judge(verdict)

    def _follow(self, _instruction: Instruction | None) -> None:
        self._show = _Show(self._node.now_ns())
        self._publish_state()

    def _tick(self) -> None:
        if self._node.active:
            over = (
                self._show.motion is not None
                and self._node.now_ns() > self._show.begin_ns + self._show.motion.duration_s * _NS
            )
            if self._show.done is not None and over:
                self._instructions.judge(self._show.done)
            self._instructions.tick()
            self._publish_state()

    def _status(self) -> InferenceStatus:
        if not self._node.active:
            return InferenceStatus(reason="not active")
        if self._instructions.current is None:
            return InferenceStatus(chunks=self._count)
        missing = (
            "joint states"
            if self._measured is None
            else f"the blocks of scene {self._planner.scene.name}"
            if self._layout is None
            else ""
        )
        reason = self._show.problem or (f"waiting for {missing}" if missing else "")
        return InferenceStatus(reason=reason, chunks=self._count)

    def _demonstrate(self) -> None:
        """Give the executor the next rows."""
        instruction = self._instructions.current if self._node.active else None
        if instruction is None or self._measured is None or self._layout is None or self._show.problem:
            return
        if self._layout[0] <= self._show.accepted_ns or self._measured[0] <= self._show.accepted_ns:
            return
        if self._show.motion is None:
            self._plan(instruction, self._layout[1], self._measured[1])
        if self._show.motion is not None:
            self._publish(instruction, self._show.motion)

    def _plan(self, instruction: Instruction, layout: SceneLayout, measured: NDArray[np.float64]) -> None:
        from swiftvla_ros.sim.expert.plan_demonstration import DemonstrationError
        from swiftvla_ros.sim.tasks.registry import parse

        task = parse(instruction.text)
        assert task is not None, "checked before it was accepted"
        began = time.monotonic()
        try:
            self._show.motion = self._planner.plan(
                task, layout, measured if self._commanded is None else self._commanded
            )
        except DemonstrationError as error:
            self._show.problem = str(error)
            self._node.get_logger().error(f"'{instruction.text}': {error}")
            return
        self._show.begin_ns = self._node.now_ns() + round(_LEAD_S * _NS)
        self._node.get_logger().info(
            f"'{instruction.text}': {self._show.motion.duration_s:.1f} s of motion, planned in "
            f"{time.monotonic() - began:.2f} s"
        )

    def _publish(self, instruction: Instruction, motion: Demonstration) -> None:
        assert self._measured is not None
        step_s, now_ns = self._contract.policy.step_s, self._node.now_ns()
        stamp = max(self._measured[0], self._show.begin_ns - round(_LEAD_S * _NS))
        rows = motion.at(np.arange(_ROWS, dtype=np.float64) * step_s + (stamp - self._show.begin_ns) / _NS)
        self._count += 1
        self._chunks.publish(
            ActionChunk(
                header=header(stamp, self._contract.base_frame),
                step=to_duration(round(step_s * _NS)),
                joint_names=list(self._contract.joint_names),
                rows=len(rows),
                positions=rows.ravel().tolist(),
                chunk_id=next(self._chunk_ids),
                instruction=instruction.text,
                instruction_id=instruction.id,
                state_stamp=to_time(self._measured[0]),
                observation_ready=to_time(stamp),
                inference_start=to_time(now_ns),
                inference_end=to_time(self._node.now_ns()),
            )
        )

    def _publish_state(self) -> None:
        status, instruction = self._status(), self._instructions.current
        self._state.publish(
            PolicyState(
                header=header(self._node.now_ns()),
                ready=not status.reason,
                reason=status.reason,
                instruction=instruction.text if instruction else "",
                instruction_id=instruction.id if instruction else 0,
                device="cpu",
                chunks=status.chunks,
            )
        )

    def _known(self, text: str) -> str:
        """The instruction, where the scene has what it names."""
        from swiftvla_ros.sim.tasks.registry import examples, parse

        scene = self._planner.scene
        if parse(text, scene) is None:
            raise InstructionError(
                f"'{text}': there are a red, a green and a blue block; say for example {examples(scene)}"
            )
        return text


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM."""
    sys.exit(run(ExpertNode, args))


if __name__ == "__main__":
    main()
