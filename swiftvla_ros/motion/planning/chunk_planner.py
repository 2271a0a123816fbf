# SPDX-License-Identifier: Apache-2.0
"""From an accepted chunk to the motion that it asks for: its rows in path time, blended, and the path through them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Limits
from swiftvla_ros.contract.executor_codes import Reason
from swiftvla_ros.contract.turns import unwrapped
from swiftvla_ros.motion.chunk import NS, AcceptedChunk, JointChunk
from swiftvla_ros.motion.config import ExecutorConfig
from swiftvla_ros.motion.planning.blend import ChunkBlend, Reaching
from swiftvla_ros.motion.planning.gripper import GripperSwitches, Switches
from swiftvla_ros.motion.planning.motion_plan import MotionPlan
from swiftvla_ros.motion.planning.reference import PEAKS_OF_A_STATE, SEAM_S, SEAM_SHARE
from swiftvla_ros.motion.planning.rows import PlannedRows, same_source

Array = NDArray[np.float64]

PAST_ROWS = 3
"""Rows before the seam that still shape the curve: a row bends a cubic spline by 0.27³ = 2 % three rows further on."""


@dataclass(frozen=True)
class PathTimes:
    """Path times of a chunk: now, of the state that the motion begins with, and of the chunk's observation."""

    now_ns: int
    state_ns: int
    stamp_ns: int


@dataclass(frozen=True)
class PlannedChunk:
    """A chunk, and the motion that it asks for, in path time.

    Attributes
    ----------
    shortest_s
        The shortest time in which the difference to the last command fades.
    fades_paths
        Whether the path that is followed fades into this one.
    approach_s, approach_until_ns
        How long the arm only goes to where the chunk begins, 0 where it begins with it; until when, in path time.
    at_the_end
        What is said when the rows end; None where the motion ends before they do.
    reaching, switches
        What the next chunk's blending and grippers go on from.
    """

    accepted: AcceptedChunk
    plan: MotionPlan
    shortest_s: float
    fades_paths: bool
    approach_s: float
    approach_until_ns: int
    at_the_end: tuple[Reason, str] | None
    reaching: Reaching
    switches: Switches

    @property
    def chunk(self) -> JointChunk:
        """The chunk."""
        return self.accepted.chunk

    @property
    def rows(self) -> PlannedRows:
        """The rows that it goes through."""
        return self.plan.rows


class ChunkPlanner:
    """Plans motions. It remembers nothing: what it needs of the chunk before is a part of that one's plan."""

    def __init__(self, limits: Limits, joint_names: tuple[str, ...], config: ExecutorConfig) -> None:
        self._limits, self._config = limits, config
        self._grippers = GripperSwitches(joint_names, config.switched, limits)
        self._blend = ChunkBlend(config.blend, self._grippers.joints)

    def plan(self, accepted: AcceptedChunk, older: PlannedChunk | None, at: PathTimes) -> PlannedChunk:
        """Plan the motion from a standing arm to the chunk, or behind the ``older`` one that is followed."""
        chunk, start, config = accepted.chunk, accepted.start, self._config
        first_ns = at.now_ns if start.standing else at.stamp_ns
        times = first_ns + np.arange(len(accepted.inside), dtype=np.int64) * chunk.step_ns
        standing, past = start.state[0] if start.standing else None, older.switches if older is not None else None
        positions, switches = self._grippers.shaped(times, accepted.inside, at.now_ns, standing, past)
        # nothing of a plan lies behind an arm that stands
        behind, reaching = (older.rows, older.reaching) if older is not None and not start.standing else (None, ())
        blended, reaching = self._blend.blended(chunk, times, positions, behind, reaching, at.now_ns)
        approach_s = 0.0
        at_the_end = Reason.ROWS_EXHAUSTED, f"the rows of chunk {chunk.chunk_id} end and no newer chunk came"
        if accepted.far:
            approach_s = approach_duration_s(positions[0] - start.state[0], self._limits, config.approach_s)
            at_the_end = Reason.NO_CHUNK, f"arrived where chunk {chunk.chunk_id} begins; waiting for a chunk from there"
            stay = at.now_ns + np.array([0, round(approach_s * NS)], dtype=np.int64)
            rows = PlannedRows(stay, np.stack([positions[0], positions[0]]), chunk, at.now_ns)
        elif start.standing:
            rows = PlannedRows(times, positions, chunk, first_ns)
        else:
            rows = join_rows(chunk, times, blended, behind, at.now_ns)
            # an older tail may have gone the other way round
            rows = replace(rows, positions=unwrapped(rows.positions, self._limits.continuous))
        until_ns = at.now_ns + round((config.tail_timeout_s + approach_s) * NS)
        plan = MotionPlan.through(rows, self._limits, now_ns=at.state_ns, until_ns=until_ns)
        return PlannedChunk(
            accepted,
            plan,
            shortest_s=approach_s or (config.soft_start_s if start.standing else SEAM_S),
            fades_paths=config.blend.kind == "smooth",
            approach_s=approach_s,
            approach_until_ns=at.now_ns + round(approach_s * NS),
            at_the_end=at_the_end if plan.path_end_ns >= rows.end_ns else None,
            reaching=reaching,
            switches=switches,
        )


def join_rows(
    chunk: JointChunk, times_ns: NDArray[np.int64], positions: Array, older: PlannedRows | None, now_ns: int
) -> PlannedRows:
    """Put a chunk's rows [K, J] at times [K] before what an older chunk knows beyond their end.

    Rows that are past are dropped but for the last few, which shape the curve at the seam. The older tail stays only
    where it belongs to the same instruction and checkpoint.
    """
    first_ns = int(times_ns[0])
    first_usable = (now_ns - first_ns) // chunk.step_ns + 1
    first = min(max(first_usable - PAST_ROWS, 0), len(positions) - 1)
    times, positions = times_ns[first:], positions[first:]
    if older is not None and same_source(older.chunk, chunk):
        # half a step of distance: two rows next to each other in time would be a spike in the velocity
        tail = older.times_ns > times[-1] + chunk.step_ns // 2
        times = np.concatenate([times, older.times_ns[tail]])
        positions = np.concatenate([positions, older.positions[tail]])
    return PlannedRows(times, positions, chunk, first_ns)


def approach_duration_s(gap: Array, limits: Limits, shortest_s: float) -> float:
    """How long the way over a distance [J] from rest to rest takes with a share of the limits."""
    by_derivative = (limits.max_velocity, limits.max_acceleration, limits.max_jerk)
    v, a, j = (
        float((peak * np.abs(gap) / (share * limit)).max())
        for peak, share, limit in zip(PEAKS_OF_A_STATE[:, 0], SEAM_SHARE[:, 0], by_derivative, strict=True)
    )
    return max(shortest_s, v, math.sqrt(a), j ** (1 / 3))
