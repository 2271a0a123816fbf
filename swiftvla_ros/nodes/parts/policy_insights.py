# SPDX-License-Identifier: Apache-2.0
"""What monitors are told of each chunk beside itself: what the vision encoder saw, and another sample now and then."""

from __future__ import annotations

import array
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from swiftvla_ros.msg import ActionChunk, VisionFeatures
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.messages import header
from swiftvla_ros.policy import Policy
from swiftvla_ros.policy.inference_thread import InferenceThread, InferredChunk, Probe, ProbeError

# Samples start from noise as in training: a policy that runs without any would give the same chunk again.
SAMPLE_NOISE = 1.0


class PolicyInsights:
    """Publishes them after the chunk, called by the inference thread.

    ``inference`` gives the thread while the node is active, ``message`` makes a chunk with the seed of its noise one;
    each ``every``-th chunk is sampled again, 0: none.
    """

    def __init__(
        self,
        node: ManagedNode[Any],
        policy: Policy,
        inference: Callable[[], InferenceThread | None],
        message: Callable[[InferredChunk, int], ActionChunk],
        every: int,
    ) -> None:
        self._policy, self._inference, self._message, self._every = policy, inference, message, every
        self._features = node.publisher(VisionFeatures, "vision_features", qos.CHUNK)
        self._samples = node.publisher(ActionChunk, "action_chunk_sample", qos.CHUNK)

    def publish(self, chunk: InferredChunk, noise_seed: int) -> None:
        """Tell of the chunk that was computed last; where the policy can't tell features, there are none in it."""
        features = self._policy.vision_features()
        message = VisionFeatures(
            header=header(chunk.observation.stamp_ns),
            chunk_id=chunk.chunk_id,
            checkpoint_sha256=self._policy.checkpoint_sha256,
        )
        if features is not None:
            message.camera_names, message.dim = list(self._policy.camera_names), features.shape[1]
            message.features = array.array("f", np.ascontiguousarray(features, np.float32).tobytes())
        self._features.publish(message)
        if self._every and chunk.chunk_id % self._every == 0:
            self._sample(chunk, noise_seed + chunk.chunk_id)

    def _sample(self, chunk: InferredChunk, seed: int) -> None:
        """Have the chunk's observation computed from other noise once there is nothing newer to do."""
        noise, inference = self._policy.sample_noise(seed, SAMPLE_NOISE), self._inference()
        if noise is None or inference is None:
            return

        def publish(found: InferredChunk | ProbeError) -> None:
            if isinstance(found, InferredChunk):
                told = {name: getattr(chunk, name) for name in ("chunk_id", "instruction", "frozen_rows", "guidance")}
                self._samples.publish(self._message(replace(found, **told, rows_ahead=chunk.rows_ahead), seed))

        ahead = chunk.rows_ahead if len(chunk.rows_ahead) else None
        probe = Probe(chunk.instruction.text, noise, publish, chunk.observation, ahead, chunk.frozen_rows, patient=True)
        try:
            inference.probe(probe)
        except ProbeError:
            return  # too many wait: this chunk has none
