# SPDX-License-Identifier: Apache-2.0
"""The policy: observations and an instruction in, action chunks out."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from sensor_msgs.msg import Image, JointState

from swiftvla_ros.msg import ActionChunk, ExecutorState, PolicyState, TaskVerdict
from swiftvla_ros.nodes.parts.instructions import InstructionServer
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.diagnostics import Health, Level, publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, run
from swiftvla_ros.nodes.ros.messages import header, to_duration, to_time
from swiftvla_ros.observation.image_decoding import ImageDecodingError, conditioned_image
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.message_fields import measured_positions, stamp_ns
from swiftvla_ros.observation.observation import NO_GUIDANCE
from swiftvla_ros.observation.pairing import ObservationPairing
from swiftvla_ros.policy import Policy, load_policy
from swiftvla_ros.policy.continuation.committed_rows import Following
from swiftvla_ros.policy.inference_thread import InferenceStatus, InferenceThread, InferredChunk, Instruction
from swiftvla_ros.replay.recorded_policy import RecordedPolicy

_REPEAT_S = 5.0
# Feedback of the action, its time limit and policy_state.
_TICK_S = 0.2


@dataclass(frozen=True)
class PolicyParts:
    """What the node has between configure and cleanup: the policy, how it is run, and where it speaks."""

    policy: Policy
    noise_seed: int
    min_period_s: float
    chunks: Any
    states: Any
    instructions: InstructionServer
    chunk_ids: Iterator[int] = field(default_factory=partial(itertools.count, 1))


class PolicyNode(ManagedNode):
    """Pairs conditioned images with joint states and infers in a thread of its own.

    The executor's thread runs all callbacks: it stores messages in the :class:`InferenceThread`, serves instructions
    and reports. The inference thread reads the clock, logs, and calls :meth:`_publish_chunk`; nothing else of it.
    """

    def __init__(self) -> None:
        super().__init__("policy")
        self.describe("checkpoint", "", "folder of the policy's checkpoint")
        self.describe("policy_from", "", "a bag whose chunks are given again, in place of a checkpoint")
        self.describe("runtime", "auto", "what computes the network: auto, or torch")
        self.describe("device", "auto", "auto, cpu or cuda")
        self.describe("precision", "float32", "float32, or bfloat16: half the memory, faster on GPUs and recent CPUs")
        self.describe("threads", 0, "threads for inference on a CPU; 0: as many as torch chooses")
        self.describe("max_rate_hz", 10.0, "most inferences a second; images that come sooner are skipped")
        self.describe("noise_seed", 0, "seed of the noise that every chunk starts from")
        self.describe(
            "guidance", NO_GUIDANCE, "how chunks continue what is being executed: none, vjp, identity or trained"
        )
        self._inference: InferenceThread | None = None
        self._parts: PolicyParts | None = None

    def setup(self) -> None:
        """Load the checkpoint, warm it up and open the topics."""
        rate_hz = float(self.value("max_rate_hz"))
        if not rate_hz > 0:
            raise ValueError(f"parameter max_rate_hz is {rate_hz}; write a rate above 0")
        seed = int(self.value("noise_seed"))
        if seed < 0:
            raise ValueError(f"parameter noise_seed is {seed}; write 0 or more")
        policy = self._load()
        policy.warm_up()
        self._parts = PolicyParts(
            policy,
            noise_seed=seed,
            min_period_s=1.0 / rate_hz,
            chunks=self.publisher(ActionChunk, "action_chunk", qos.CHUNK),
            states=self.publisher(PolicyState, "policy_state", qos.LATCHED),
            instructions=InstructionServer(self, self.now_ns, policy.check_instruction, self._follow, self._status),
        )
        for camera in policy.camera_names:
            self.subscribe(Image, f"observation/{camera}", partial(self._take_image, camera), qos.CAMERA_INPUT)
        self.subscribe(JointState, "observation/state", self._take_state, qos.STATE_INPUT)
        self.subscribe(TaskVerdict, "task_verdict", self._parts.instructions.judge, qos.LATCHED)
        self.subscribe(ExecutorState, "executor_state", self._watch_executor, qos.STATE_INPUT)
        publish_diagnostics(self, self._health)
        self.timer(_TICK_S, self._tick)
        self.get_logger().info(f"policy {policy.checkpoint_sha256[:21]} on {policy.device} is ready")

    def _load(self) -> Policy:
        bag, checkpoint = str(self.value("policy_from")), str(self.value("checkpoint"))
        if bag:
            return RecordedPolicy(bag, self.contract)
        if not checkpoint:
            raise ValueError("parameter checkpoint is empty; write the folder of a checkpoint, or policy_from: a bag")
        return load_policy(
            checkpoint,
            contract=self.contract,
            runtime=str(self.value("runtime")),
            device=str(self.value("device")),
            threads=int(self.value("threads")) or None,
            precision=str(self.value("precision")),
            guidance=str(self.value("guidance")),
        )

    @property
    def _configured(self) -> PolicyParts:
        assert self._parts is not None, "callbacks come between configure and cleanup"
        return self._parts

    def start(self) -> None:
        """Begin to infer as soon as there is an instruction."""
        timing, parts = self.contract.policy, self._configured
        self._inference = InferenceThread(
            parts.policy,
            ObservationPairing(
                parts.policy.camera_names,
                slop_s=timing.pair_slop_s,
                max_image_age_s=timing.max_image_age_s,
                max_state_age_s=timing.max_state_age_s,
            ),
            noise=parts.policy.sample_noise(parts.noise_seed),
            chunk_ids=parts.chunk_ids,
            min_period_s=parts.min_period_s,
            now_ns=self.now_ns,
            publish=self._publish_chunk,
            report=lambda text: self.get_logger().error(text, throttle_duration_sec=_REPEAT_S),
        )
        parts.instructions.accepting = True
        self._publish_state()

    def stop(self) -> None:
        """End the running goal and the inference."""
        if self._inference is None:
            return
        self._configured.instructions.refuse_all("the policy node was deactivated")
        self._inference.end()
        self._inference = None
        self._publish_state()

    def teardown(self) -> None:
        """Close service and action."""
        if self._parts is not None:
            self._parts.instructions.destroy()
            self._parts = None

    def _take_image(self, camera: str, message: Image) -> None:
        if self._inference is None:
            return
        now_ns = self.now_ns()
        if self.clock_jumped_back(now_ns):
            self._inference.clear()
        try:
            image = conditioned_image(message, self.contract.camera(camera).size)
        except ImageDecodingError as error:
            self._refuse(f"observation/{camera}: {error}")
            return
        self._inference.add_image(camera, stamp_ns(message.header.stamp), image, now_ns)

    def _take_state(self, message: JointState) -> None:
        if self._inference is None:
            return
        now_ns = self.now_ns()
        if self.clock_jumped_back(now_ns):
            self._inference.clear()
        try:
            state = measured_positions(message, self.contract.joint_names)
        except JointStateError as error:
            self._refuse(str(error))
            return
        self._inference.add_state(stamp_ns(message.header.stamp), state, now_ns)

    def _watch_executor(self, state: ExecutorState) -> None:
        self._configured.instructions.watch(state)
        if self._inference is None:
            return
        numbers = math.isfinite(state.row) and math.isfinite(state.speed_scale)
        moving = numbers and state.mode in (ExecutorState.FRESH, ExecutorState.TAIL) and state.row >= 0
        position = np.array(state.commanded_position)
        # Empty while nothing is commanded; anybody can publish, so nothing else gets through to the inference thread.
        commanded = position if position.shape == (len(self.contract.joints),) and np.isfinite(position).all() else None
        first_ns, stamp = stamp_ns(state.chunk_first_command), stamp_ns(state.chunk_stamp)
        self._inference.follow(
            Following(stamp_ns(state.header.stamp), state.chunk_id, state.row, moving, state.speed_scale, commanded),
            delay_s=(first_ns - stamp) / 1e9 if first_ns and stamp else None,
        )

    def _refuse(self, problem: str) -> None:
        if self._inference is not None:
            self._inference.drop_invalid()
        self.get_logger().error(f"message refused: {problem}", throttle_duration_sec=_REPEAT_S)

    def _follow(self, instruction: Instruction | None) -> None:
        if self._inference is not None:
            self._inference.instruct(instruction)
            self._publish_state()

    def _status(self) -> InferenceStatus:
        return InferenceStatus(reason="not active") if self._inference is None else self._inference.status()

    def _health(self) -> Health:
        status, instruction = self._status(), self._configured.instructions.current
        values = {
            "instruction": instruction.text if instruction else "",
            "checkpoint": self._configured.policy.checkpoint_sha256[:12],
            "device": self._configured.policy.device,
            **{f"{stage}, ms": f"{1e3 * seconds:.1f}" for stage, seconds in status.latency_s.items()},
            "chunks": status.chunks,
            "observations dropped: stale": status.dropped_stale,
            "observations dropped: unpaired": status.dropped_unpaired,
            "messages dropped: invalid": status.dropped_invalid,
        }
        # Nobody asked for anything: that is no trouble.
        well = not status.reason or instruction is None
        return Health(Level.OK if well else Level.WARN, status.reason or "chunks are computed", values)

    def _tick(self) -> None:
        if self.active:
            self._configured.instructions.tick()
            self._publish_state()

    def _publish_state(self) -> None:
        status = self._status()
        instruction = self._configured.instructions.current
        self._configured.states.publish(
            PolicyState(
                header=header(self.now_ns()),
                ready=not status.reason,
                reason=status.reason,
                instruction=instruction.text if instruction else "",
                instruction_id=instruction.id if instruction else 0,
                checkpoint_sha256=self._configured.policy.checkpoint_sha256,
                device=str(self._configured.policy.device),
                precision=self._configured.policy.precision,
                threads=self._configured.policy.threads,
                guidance=self._configured.policy.guidance,
                latency_stages=list(status.latency_s),
                latency_s=list(status.latency_s.values()),
                chunks=status.chunks,
                dropped_stale=status.dropped_stale,
                dropped_unpaired=status.dropped_unpaired,
                dropped_invalid=status.dropped_invalid,
            )
        )

    def _publish_chunk(self, chunk: InferredChunk) -> None:
        """Called by the inference thread."""
        observation = chunk.observation
        self._configured.chunks.publish(
            ActionChunk(
                header=header(observation.stamp_ns, self.contract.base_frame),
                step=to_duration(round(self._configured.policy.step_s * 1e9)),
                joint_names=list(self.contract.joint_names),
                rows=len(chunk.positions),
                positions=chunk.positions.ravel().tolist(),
                chunk_id=chunk.chunk_id,
                instruction=chunk.instruction.text,
                instruction_id=chunk.instruction.id,
                checkpoint_sha256=self._configured.policy.checkpoint_sha256,
                noise_seed=self._configured.noise_seed,
                camera_names=list(observation.image_stamps_ns),
                camera_stamps=[to_time(ns) for ns in observation.image_stamps_ns.values()],
                state_stamp=to_time(observation.state_stamp_ns),
                observation_ready=to_time(observation.ready_ns),
                inference_start=to_time(chunk.inference_start_ns),
                inference_end=to_time(chunk.inference_end_ns),
                frozen_rows=chunk.frozen_rows,
                guidance=chunk.guidance,
                rows_ahead=chunk.rows_ahead.ravel().tolist(),
            )
        )


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM."""
    sys.exit(run(PolicyNode, args))


if __name__ == "__main__":
    main()
