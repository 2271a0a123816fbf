# SPDX-License-Identifier: Apache-2.0
"""A policy that is given geometry features in simulation: what the 4D branch adds, for studies of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.episodes.teacher.stream import CameraImages
from swiftvla_ros.policy import Observation, Policy


class Stream(Protocol):
    """Geometry features of one image after the other, as `GeometryStream` of the episodes makes them."""

    def reset(self) -> None:
        """Forget all images."""

    def observe(self, images: CameraImages) -> NDArray[np.float32]:
        """Features [tokens, dim] of the next policy step's images."""


class PolicyWith4D(Policy):
    """A policy, loaded ``with_4d``, and the stream that feeds it, of the geometry checkpoint that it was trained with.

    The features depend on how much the scene moves between two images, so the stream must be shown one set of images
    per policy step, as in training: call :meth:`watch` every ``step_s``, also while the policy is still at work on an
    earlier observation. Each :meth:`infer` uses the features of the last images shown.
    """

    def __init__(self, policy: Policy, stream: Stream) -> None:
        self._policy, self._stream, self.step_s = policy, stream, policy.step_s
        self._features: NDArray[np.float32] | None = None

    def reset(self) -> None:
        """Begin another episode."""
        self._stream.reset()
        self._features = None

    def watch(self, images: CameraImages) -> None:
        """Show the next policy step's images."""
        self._features = self._stream.observe(images)

    def infer(self, observation: Observation, **given: Any) -> NDArray[np.float64]:
        """Absolute joint positions [H, J]; ValueError when no images were shown since the reset."""
        if self._features is None:
            raise ValueError("the geometry stream has seen no image of this episode; call watch first")
        return self._policy.infer(replace(observation, geometry=self._features), **given)
