# SPDX-License-Identifier: Apache-2.0
"""Whether recorded commands kept the limits: the worst ratio per joint and limit, from the positions alone.

Velocity, acceleration and jerk are divided differences of the commanded positions over their stamps. A divided
difference is a mean of the derivative over the samples it spans, so commands on a motion inside the limits give ratios
of at most one whatever the spacing of the stamps; ``TOLERANCE`` covers rounding. The stamps must be the times that the
commands were computed for (``executor_state`` carries them): times of arrival jitter, and a millisecond of jitter at
100 Hz looks like tens of rad/s².
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Limits
from swiftvla_ros.motion.chunk import NS
from swiftvla_ros.motion.executor import LATE_TICK_S

Array = NDArray[np.float64]

LIMITS = ("position", "velocity", "acceleration", "jerk")
"""The rows of a report."""

TOLERANCE = 1e-3
"""How far a ratio may be above one and still be rounding."""


@dataclass(frozen=True)
class LimitReport:
    """What the check found.

    Attributes
    ----------
    ratios
        [4, J] worst share of each of ``LIMITS`` that was used; 1 is the limit. Of the position limits the distance from
        the middle of the range is taken, over half the range; where an arm that began outside comes inside, over that
        of the command before.
    worst_ns
        [4, J] stamp of the sample at which that was.
    gaps
        How often a stamp did not follow the one before within ``LATE_TICK_S``; the commands beside it were taken to be
        one tick apart, as the executor takes them, so that a jump there shows.
    """

    joint_names: tuple[str, ...]
    ratios: Array
    worst_ns: NDArray[np.int64]
    samples: int
    gaps: int

    @property
    def ok(self) -> bool:
        """Whether no limit was passed."""
        return bool((self.ratios <= 1.0 + TOLERANCE).all())

    def violations(self) -> list[str]:
        """One line a joint and limit that was passed, worst first."""
        found = np.argwhere(self.ratios > 1.0 + TOLERANCE)
        worst_first = sorted(found.tolist(), key=lambda at: -self.ratios[at[0], at[1]])
        return [
            f"joint '{self.joint_names[j]}': {self.ratios[i, j]:.3f} of its {LIMITS[i]} limit, {self.worst_ns[i, j]} ns"
            for i, j in worst_first
        ]

    def as_dict(self) -> dict[str, object]:
        """The same for a JSON file."""
        ratios = {
            name: {limit: float(self.ratios[i, j]) for i, limit in enumerate(LIMITS)}
            for j, name in enumerate(self.joint_names)
        }
        return {"ok": self.ok, "samples": self.samples, "gaps": self.gaps, "worst_ratio": ratios}


def check_limits(
    stamps_ns: NDArray[np.int64],
    positions: Array,
    limits: Limits,
    joint_names: tuple[str, ...],
    *,
    tick_s: float,
    segments: NDArray[np.int64] | None = None,
) -> LimitReport:
    """Compare commanded ``positions`` [N, J], rad or m, at ``stamps_ns`` [N] with the limits.

    Parameters
    ----------
    tick_s
        Time between commands that the executor was made for; taken where stamps jump.
    segments
        [N] numbers; commands with different numbers are not compared with each other. A new one begins where commanding
        began anew from a measured pose (mode IDLE or RELEASED lies between). None: all are one.
    """
    stamps_ns, positions = np.asarray(stamps_ns, dtype=np.int64), np.asarray(positions, dtype=np.float64)
    if stamps_ns.ndim != 1 or len(stamps_ns) == 0 or positions.shape != (len(stamps_ns), len(joint_names)):
        shapes = f"stamps {stamps_ns.shape} and positions {positions.shape}"
        raise ValueError(f"{shapes} do not fit: expected [N >= 1] and [N, {len(joint_names)}]")
    if not np.isfinite(positions).all():
        k, j = np.argwhere(~np.isfinite(positions))[0]
        raise ValueError(f"the command at {stamps_ns[k]} ns for joint '{joint_names[j]}' is {positions[k, j]}")
    steps = (stamps_ns[1:] - stamps_ns[:-1]) / NS
    even = (steps > 0.0) & (steps <= LATE_TICK_S)
    steps = np.where(even, steps, tick_s)
    times = np.concatenate([[0.0], np.cumsum(steps)])
    together = np.zeros(len(stamps_ns), dtype=np.int64) if segments is None else np.asarray(segments)

    used = [_range_used(positions, together, limits)]
    difference = positions
    for order, limit in enumerate((limits.max_velocity, limits.max_acceleration, limits.max_jerk), start=1):
        if len(stamps_ns) <= order:
            used.append(np.zeros((1, len(joint_names))))
            continue
        difference = order * (difference[1:] - difference[:-1]) / (times[order:] - times[:-order])[:, None]
        apart = together[order:] != together[:-order]
        used.append(np.where(apart[:, None], 0.0, np.abs(difference) / limit))
    worst = np.stack([u.argmax(axis=0) for u in used])
    ratios = np.stack([u.max(axis=0) for u in used])
    same = together[1:] == together[:-1]
    return LimitReport(tuple(joint_names), ratios, stamps_ns[worst], len(stamps_ns), int((~even & same).sum()))


def _range_used(positions: Array, together: NDArray[np.int64], limits: Limits) -> Array:
    """Distance [N, J] from the middle of each joint's range, over half of it; 0 where there are no position limits.

    An arm that began outside comes inside: what leads no farther out from one command to the next is no more than was.
    """
    low = np.where(limits.continuous, -1.0, limits.min_position)
    high = np.where(limits.continuous, 1.0, limits.max_position)
    half = (high - low) / 2
    distance = np.abs(positions - (high + low) / 2)
    same = (together[1:] == together[:-1])[:, None]
    begins = np.concatenate([[0], 1 + np.flatnonzero(~same)])
    before = np.concatenate([distance[:1], np.where(same, distance[:-1], 0.0)])
    comes_nearer = np.minimum.reduceat(distance, begins) < distance[begins]
    before[begins] = np.where(comes_nearer, distance[begins], 0.0)
    allowed = np.where(distance <= before, np.maximum(half, before), half)
    return np.where(limits.continuous, 0.0, distance / allowed)
