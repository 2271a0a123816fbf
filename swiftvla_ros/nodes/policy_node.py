# SPDX-License-Identifier: Apache-2.0
"""The policy: observations and an instruction in, action chunks out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.executor_codes import ChunkSource, Mode
from swiftvla_ros.msg import ActionChunk, ExecutorState, TaskVerdict
from swiftvla_ros.nodes.parts.instructions import InstructionServer
from swiftvla_ros.nodes.parts.observation_topics import subscribe_to_images, subscribe_to_state
from swiftvla_ros.nodes.parts.policy_insights import PolicyInsights
from swiftvla_ros.nodes.parts.policy_probes import PolicyProbes
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.diagnostics import Health, Level, publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import header, to_duration, to_time
from swiftvla_ros.nodes.ros.parameters import Allowed
from swiftvla_ros.observation.message_fields import read_executor_state, read_task_verdict
from swiftvla_ros.observation.observation import NO_GUIDANCE, Observation
from swiftvla_ros.observation.pairing import ObservationPairing
from swiftvla_ros.policy import CheckpointPolicy, Policy, load_policy
from swiftvla_ros.policy.continuation.committed_rows import Following
from swiftvla_ros.policy.inference_thread import InferenceStatus, InferenceThread, InferredChunk, Instruction
from swiftvla_ros.policy.second_opinion import SecondOpinion
from swiftvla_ros.replay.recorded_policy import RecordedPolicy
from swiftvla_ros.runtime_registry import RUNTIMES, devices

_REPEAT_S = 5.0


@dataclass
class PolicyParts:
    """The policy, how it is run, where it speaks, and its thread while the node is active."""

    policy: Policy
    noise_seed: int
    min_period_s: float
    chunks: Any
    instructions: InstructionServer
    probes: PolicyProbes
    insights: PolicyInsights
    chunk_ids: Iterator[int] = field(default_factory=partial(itertools.count, 1))
    inference: InferenceThread | None = None
    second: SecondOpinion | None = None


class PolicyNode(ManagedNode[PolicyParts]):
    """Pairs conditioned images with joint states and infers in a thread of its own.

    The executor's thread runs all callbacks: it stores messages in the :class:`InferenceThread`, serves instructions
    and reports. The inference thread reads the clock, logs, and calls :meth:`_publish_chunk`; nothing else of it.
    """

    def __init__(self) -> None:
        super().__init__("policy")
        self.describe("checkpoint", "", "folder of the policy's checkpoint")
        self.describe("policy_from", "", "a bag whose chunks are given again, in place of a checkpoint")
        self.describe("runtime", "auto", f"what computes the network: auto, or one of {', '.join(RUNTIMES)}")
        self.describe("device", "auto", f"auto, or one of {', '.join(devices())}")
        self.describe("precision", "auto", "auto: as exported, float32 with torch; or float32, bfloat16, float16")
        self.describe(
            "threads", 0, "threads for inference on a CPU; 0: as many as the runtime chooses", Allowed(least=0)
        )
        self.describe(
            "max_rate_hz", 10.0, "most inferences a second; images that come sooner are skipped", Allowed(above=0)
        )
        self.describe("second_opinion", True, "compute the first observation with a second runtime, too, and compare")
        self.describe("noise_seed", 0, "seed of the noise that every chunk starts from", Allowed(least=0))
        self.describe(
            "second_sample_every", 0, "every n-th chunk is sampled again, for monitors; 0: none", Allowed(least=0)
        )
        self.describe(
            "compare_words", False, "compute each instruction's first chunk without words, too: do they matter?"
        )
        self.describe(
            "guidance", NO_GUIDANCE, "how chunks continue what is being executed: none, vjp, identity or trained"
        )

    def setup(self) -> PolicyParts:
        """Load the checkpoint, warm it up and open the topics."""
        rate_hz, seed = float(self.value("max_rate_hz")), int(self.value("noise_seed"))
        policy = self._load()
        policy.warm_up()
        instructions = InstructionServer(
            self,
            policy.check_instruction,
            self._follow,
            self._status,
            compares_words=bool(self.value("compare_words")),
            checkpoint_sha256=policy.checkpoint_sha256,
            runtime=policy.runtime,
            device=str(policy.device),
            precision=policy.precision,
            threads=policy.threads,
            guidance=policy.guidance,
        )
        subscribe_to_images(self, policy.camera_names, self._take_image, qos.CAMERA_INPUT, self._count_refused)
        subscribe_to_state(self, self._take_state, self._count_refused)
        self.subscribe(TaskVerdict, "task_verdict", self._judge, qos.LATCHED)
        self.subscribe(ExecutorState, "executor_state", self._watch_executor, qos.STATE_INPUT)
        probes = PolicyProbes(self, policy, instructions.effect, self._inference, self._message)
        publish_diagnostics(self, self._health)
        why = f"; {policy.why_runtime}" if policy.why_runtime else ""
        computed = " ".join(part for part in (policy.runtime, policy.precision, "on", policy.device) if part)
        self.get_logger().info(f"policy {policy.checkpoint_sha256[:21]} ({computed}) is ready{why}")
        chunks = self.publisher(ActionChunk, "action_chunk", qos.CHUNK)
        every = int(self.value("second_sample_every"))
        insights = PolicyInsights(self, policy, self._inference, self._message, every)
        return PolicyParts(policy, seed, 1.0 / rate_hz, chunks, instructions, probes, insights)

    def _load(self) -> Policy:
        bag, checkpoint = str(self.value("policy_from")), str(self.value("checkpoint"))
        if bag:
            return RecordedPolicy(bag, self.contract, self.get_namespace())
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

    def start(self) -> None:
        """Begin to infer as soon as there is an instruction."""
        timing, parts = self.contract.policy, self.parts
        ours = isinstance(parts.policy, CheckpointPolicy) and parts.policy.guidance == NO_GUIDANCE
        if self.value("second_opinion") and ours:
            parts.second = SecondOpinion(str(self.value("checkpoint")), self.contract, parts.policy.runtime)
        parts.inference = InferenceThread(
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
        parts.instructions.accept()

    def stop(self) -> None:
        """End the running goal and the inference."""
        if self._parts is not None and self._parts.inference is not None:
            self._parts.instructions.refuse_all("the policy node was deactivated")
            self._parts.inference.end()
            self._parts.inference = None
            if self._parts.second is not None:
                self._parts.second.end()
            self._parts.instructions.publish_state()

    def _inference(self) -> InferenceThread | None:
        return self.parts.inference

    def _take_image(self, camera: str, stamp: int, image: NDArray[np.uint8], _frame_id: str) -> None:
        if (inference := self._listening()) is not None:
            inference.add_image(camera, stamp, image, self.now_ns())

    def _take_state(self, stamp: int, positions: NDArray[np.float64]) -> None:
        if (inference := self._listening()) is not None:
            inference.add_state(stamp, positions, self.now_ns())

    def _listening(self) -> InferenceThread | None:
        inference = self.parts.inference
        if inference is not None and self.clock_jumped_back(self.now_ns()):
            inference.clear()
        return inference

    def _count_refused(self) -> None:
        if self.parts.inference is not None:
            self.parts.inference.drop_invalid()

    def _judge(self, message: TaskVerdict) -> None:
        self.parts.instructions.judge(read_task_verdict(message))

    def _watch_executor(self, message: ExecutorState) -> None:
        tick = read_executor_state(message)
        self.parts.instructions.watch(tick)
        if self.parts.inference is None:
            return
        rows = tick.planned_rows
        # Anybody can publish, so nothing else gets through to the inference thread.
        good = tick.joint_names == self.contract.joint_names and rows.ndim == 2 and bool(np.isfinite(rows).all())
        # A person's motion is none that a chunk of this policy's could continue, nor has it its delay.
        own = tick.chunk_source != ChunkSource.OPERATOR
        mode, first_ns, stamp = tick.mode if own else Mode.HOLD, own and tick.first_command_ns, tick.chunk_stamp_ns
        self.parts.inference.follow(
            Following(tick.stamp_ns, mode, tick.chunk_id, tick.row, rows if good else rows[:0], tick.speed_scale),
            delay_s=(first_ns - stamp) / 1e9 if first_ns and stamp else None,
        )

    def _follow(self, instruction: Instruction | None) -> None:
        if self.parts.inference is not None:
            self.parts.inference.instruct(instruction)
            self.parts.instructions.publish_state()

    def _status(self) -> InferenceStatus:
        inference = self.parts.inference
        status = InferenceStatus(reason="not active") if inference is None else inference.status()
        return replace(status, reason=self.silence.explain(status.reason))

    def _health(self) -> Health:
        status, instruction = self._status(), self.parts.instructions.current
        second = self.parts.second.agreement if self.parts.second is not None else None
        values = {
            "runtime": " ".join(part for part in (self.parts.policy.runtime, self.parts.policy.precision) if part),
            "second opinion": "" if second is None else second.text,
            "instruction": instruction.text if instruction else "",
            "checkpoint": self.parts.policy.checkpoint_sha256[:12],
            "device": self.parts.policy.device,
            **{f"{stage}, ms": f"{1e3 * seconds:.1f}" for stage, seconds in status.latency_s.items()},
            "chunks": status.chunks,
            "observations dropped: stale": status.dropped_stale,
            "observations dropped: unpaired": status.dropped_unpaired,
            "messages dropped: invalid": status.dropped_invalid,
        }
        if second is not None and not second.alike:
            return Health(
                Level.ERROR, f"{second.text}: check the export on this machine (swiftvla check-deploy)", values
            )
        # Nobody asked for anything: that is no trouble.
        well = not status.reason or instruction is None
        return Health(Level.OK if well else Level.WARN, status.reason or "chunks are computed", values)

    def _publish_chunk(self, chunk: InferredChunk) -> None:
        """Called by the inference thread."""
        observation = chunk.observation
        if self.parts.second is not None:
            seen = Observation(observation.images, observation.state, chunk.instruction.text)
            self.parts.second.ask(seen, self.parts.policy.sample_noise(self.parts.noise_seed), chunk.positions)
        first = self.parts.instructions.effect.computed(chunk.instruction, observation.stamp_ns)
        if first and self.value("compare_words"):
            self.parts.probes.compare_words(chunk, self.parts.noise_seed)
        self.parts.chunks.publish(self._message(chunk, self.parts.noise_seed))
        self.parts.insights.publish(chunk, self.parts.noise_seed)

    def _message(self, chunk: InferredChunk, noise_seed: int) -> ActionChunk:
        observation = chunk.observation
        return ActionChunk(
            header=header(observation.stamp_ns, self.contract.base_frame),
            step=to_duration(round(self.parts.policy.step_s * 1e9)),
            joint_names=list(self.contract.joint_names),
            rows=len(chunk.positions),
            positions=chunk.positions.ravel().tolist(),
            chunk_id=chunk.chunk_id,
            instruction=chunk.instruction.text,
            instruction_id=chunk.instruction.id,
            checkpoint_sha256=self.parts.policy.checkpoint_sha256,
            noise_seed=noise_seed,
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


main = script_of(PolicyNode)

if __name__ == "__main__":
    main()
