# SPDX-License-Identifier: Apache-2.0
"""Chunks that are only looked at: for whoever asks by ``policy/probe``, and to see whether words matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.task import Future

from swiftvla_ros.msg import ActionChunk
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.observation.observation import InstructionError
from swiftvla_ros.policy import Policy
from swiftvla_ros.policy.inference_thread import InferenceThread, InferredChunk, Probe, ProbeError
from swiftvla_ros.policy.instruction_effect import EffectWatch
from swiftvla_ros.srv import ProbePolicy


class PolicyProbes:
    """Serves ``~/probe`` in the node's thread, where the inference thread's answer goes on; compares words in its own.

    ``inference`` gives the thread while the node is active, ``message`` makes a chunk with the seed of its noise one.
    """

    def __init__(
        self,
        node: ManagedNode[Any],
        policy: Policy,
        effect: EffectWatch,
        inference: Callable[[], InferenceThread | None],
        message: Callable[[InferredChunk, int], ActionChunk],
    ) -> None:
        self._node, self._policy, self._effect, self._inference = node, policy, effect, inference
        self._message = message
        node.service(ProbePolicy, "~/probe", self._probe)

    async def _probe(self, request: ProbePolicy.Request, response: ProbePolicy.Response) -> ProbePolicy.Response:
        executor, done = self._node.executor, Future()
        assert executor is not None
        try:
            if (inference := self._inference()) is None:
                raise ProbeError("the policy node is not active; activate it first")
            text = request.instruction and self._policy.check_instruction(request.instruction)
            noise = self._policy.sample_noise(request.noise_seed)
            inference.probe(Probe(text, noise, lambda found: executor.create_task(done.set_result, found)))
        except (InstructionError, ProbeError) as error:
            response.message = str(error)
            return response
        found = await done
        if isinstance(found, InferredChunk):
            age_s = (found.inference_start_ns - found.observation.stamp_ns) / 1e9
            response.success, response.message = True, f"of an observation that was {age_s:.2f} s old"
            response.chunk = self._message(found, request.noise_seed)
        else:
            response.message = str(found)
        return response

    def compare_words(self, chunk: InferredChunk, noise_seed: int) -> None:
        """Compute a chunk's observation again without words; called by the inference thread."""

        def compare(found: InferredChunk | ProbeError) -> None:
            distance = np.inf
            if isinstance(found, InferredChunk) and found.positions.shape == chunk.positions.shape:
                distance = float(np.abs(found.positions - chunk.positions).max())
            self._effect.compared(chunk.instruction, distance)

        inference = self._inference()
        assert inference is not None
        try:
            inference.probe(Probe("", self._policy.sample_noise(noise_seed), compare, chunk.observation))
        except ProbeError as error:
            compare(error)
