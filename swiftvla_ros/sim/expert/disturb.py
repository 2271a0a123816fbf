# SPDX-License-Identifier: Apache-2.0
"""Disturbances of a demonstration, so that it shows how to recover and not only how all goes well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.motion.smooth_step import smooth_step

Array = NDArray[np.float64]

BUMP_S = 0.3
# Joint offsets (rad) of a bump, one standard deviation, in the SO-101's order; the gripper is left alone.
_BUMP_RAD = np.array([0.12, 0.08, 0.08, 0.08, 0.08, 0.0])


@dataclass(frozen=True)
class Bump:
    """The arm is pushed aside: from ``start_s`` on, its command moves by ``offset`` [J] within :data:`BUMP_S`."""

    start_s: float
    offset: Array

    def command(self, origin: Array, elapsed_s: float) -> Array:
        """Command ``elapsed_s`` after the start, from rest at ``origin`` to rest at ``origin + offset`` (quintic)."""
        return origin + self.offset * smooth_step(min(max(elapsed_s / BUMP_S, 0.0), 1.0))


def sample_bump(rng: np.random.Generator, latest_s: float) -> Bump:
    """A random bump that starts within ``latest_s``."""
    return Bump(start_s=float(rng.uniform(0.2, latest_s)), offset=rng.normal(0, _BUMP_RAD))
