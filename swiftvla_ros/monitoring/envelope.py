# SPDX-License-Identifier: Apache-2.0
"""The envelope of training: where joints, chunks and pictures were, and how far from there the present ones are.

Each *part* has a distance of its own: every joint's state and motion, the pose and the chunk as a whole, every camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.errors import UserError
from swiftvla_ros.monitoring.calibration import AlarmBounds
from swiftvla_ros.monitoring.principal import PrincipalDirections

Array = NDArray[np.float64]

# What lies between these shares of the training data is inside of a joint's range.
QUANTILES = (0.001, 0.999)
# A range is at least so wide, rad or m: a joint that never moved may shiver.
_LEAST_RANGE = 0.02


class EnvelopeError(UserError, ValueError):
    """An envelope that can't be made or used; the message says why, and what to do."""


@dataclass(frozen=True)
class Looks:
    """What N looks gave: states [N, J] (rad or m), chunks relative to their state [N, H, J], features [N, cams, D].

    ``features`` is None where the policy can't tell them.
    """

    states: Array
    motions: Array
    features: NDArray[np.floating] | None

    def __len__(self) -> int:
        return len(self.states)


@dataclass(frozen=True)
class TrainedRange:
    """Where values [...] lay: between ``low`` and ``high``."""

    low: Array
    high: Array

    @classmethod
    def of(cls, values: Array) -> TrainedRange:
        """The range of values [N, ...] between :data:`QUANTILES`."""
        low, high = np.quantile(values, QUANTILES, axis=0)
        return cls(low, high)

    def beyond(self, values: Array) -> Array:
        """How far values [..., J] are out of it, in widths of the joint's widest range; 0 inside."""
        return np.asarray(np.maximum(np.maximum(self.low - values, values - self.high), 0.0) / self._width)

    @cached_property
    def _width(self) -> Array:
        return np.maximum((self.high - self.low).reshape(-1, self.low.shape[-1]).max(axis=0), _LEAST_RANGE)


@dataclass(frozen=True)
class Envelope:
    """All of it, in the order of ``joint_names`` and ``camera_names``.

    Attributes
    ----------
    checkpoint_sha256
        The checkpoint whose vision encoder made the features, and whose chunks calibrated the bounds.
    states, motions
        Ranges [J], and [H, J] of chunks relative to the state.
    pose, chunk
        The same as whole vectors.
    cameras
        One cloud of features for each camera; none where the policy couldn't tell them.
    bounds
        From where on a part slows and holds.
    """

    checkpoint_sha256: str
    joint_names: tuple[str, ...]
    camera_names: tuple[str, ...]
    states: TrainedRange
    motions: TrainedRange
    pose: PrincipalDirections
    chunk: PrincipalDirections
    cameras: tuple[PrincipalDirections, ...]
    bounds: AlarmBounds

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts, in the order of :meth:`distances`."""
        return parts_of(self.joint_names, self.camera_names[: len(self.cameras)])

    def distances(self, looks: Looks) -> Array:
        """Distances [N, P] of looks; NaN for cameras where there are no features."""
        flat = looks.motions.reshape(len(looks), -1)
        columns = [
            self.states.beyond(looks.states),
            self.motions.beyond(looks.motions).max(axis=1),
            self.pose.distance(looks.states)[:, None],
            self.chunk.distance(flat)[:, None],
        ]
        for index, cloud in enumerate(self.cameras):
            unknown = looks.features is None
            column = np.full(len(looks), np.nan) if unknown else cloud.distance(looks.features[:, index])  # type: ignore[index]
            columns.append(column[:, None])
        return np.concatenate(columns, axis=1)


def parts_of(joint_names: tuple[str, ...], camera_names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of an envelope's parts."""
    return (
        *(f"state {name}" for name in joint_names),
        *(f"motion {name}" for name in joint_names),
        "pose",
        "chunk",
        *(f"camera {name}" for name in camera_names),
    )


def describe(part: str, value: float, bound: float) -> str:
    """Say of a part that is beyond a bound what is unlike training, for people."""
    kind, _, name = part.partition(" ")
    figures = f"{value:.2g}, slows from {bound:.2g}"
    return {
        "state": f"joint {name} stands where it never was in training: {figures} of its range beyond it",
        "motion": f"the policy wants of joint {name} what training never had: {figures} of its range beyond it",
        "pose": f"the joints' pose is unlike what was trained: {figures}",
        "chunk": f"what the policy wants to do is unlike what was trained: {figures}",
        "camera": f"camera {name} is unlike what was trained: {figures}",
    }[kind]
