# SPDX-License-Identifier: Apache-2.0
"""What monitors are told of each chunk beside itself: what the vision encoder saw."""

from __future__ import annotations

import array
from typing import Any

import numpy as np

from swiftvla_ros.msg import VisionFeatures
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.messages import header
from swiftvla_ros.policy import Policy
from swiftvla_ros.policy.inference_thread import InferredChunk


class PolicyInsights:
    """Publishes them after the chunk, called by the inference thread."""

    def __init__(self, node: ManagedNode[Any], policy: Policy) -> None:
        self._policy = policy
        self._features = node.publisher(VisionFeatures, "vision_features", qos.CHUNK)

    def publish(self, chunk: InferredChunk) -> None:
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
