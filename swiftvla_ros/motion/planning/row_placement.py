# SPDX-License-Identifier: Apache-2.0
"""Where the rows of a chunk go in path time: from rest or behind what is followed, blended, the gripper switched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Limits
from swiftvla_ros.contract.executor_codes import Reason
from swiftvla_ros.motion.chunk import Chunk, Verdict
from swiftvla_ros.motion.chunk_acceptance import judge_start
from swiftvla_ros.motion.config import ExecutorConfig
from swiftvla_ros.motion.planning.blend import Blend
from swiftvla_ros.motion.planning.gripper import GripperSwitch, Switch
from swiftvla_ros.motion.planning.splice import Rows, approach_duration_s, join_rows, rows_from_rest, rows_to_approach

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Laid:
    """Rows to be followed.

    Attributes
    ----------
    rows
        In path time.
    approach_s
        How long the arm only goes to where the chunk begins; 0 where it begins with it.
    at_the_end
        What is said when the rows end.
    times_ns, positions
        All rows of the chunk by itself: path times [R] and positions [R, J].
    switches
        What the gripper remembers.
    """

    rows: Rows
    approach_s: float
    at_the_end: tuple[Reason, str]
    times_ns: NDArray[np.int64]
    positions: Array
    switches: tuple[Switch, ...]


class Layout:
    """Lays out rows, and remembers what blending and the gripper need of the chunks before."""

    def __init__(self, limits: Limits, joint_names: tuple[str, ...], config: ExecutorConfig) -> None:
        self._limits, self._names, self._config = limits, joint_names, config
        self._gripper = GripperSwitch.among(joint_names, config.gripper, limits)
        unblended = None if self._gripper is None else self._gripper.joint
        self._blend = Blend(config.blend, config.blend_over_s, config.blend_decay, unblended)

    @property
    def fades_paths(self) -> bool:
        """Whether the paths through the rows are to fade into each other."""
        return self._blend.fades_paths

    def forget(self) -> None:
        """Begin anew: what was noted belongs to another time."""
        self._blend.forget()
        if self._gripper is not None:
            self._gripper.forget()

    def behind(self, chunk: Chunk, inside: Array, older: Rows | None, now_ns: int, first_ns: int) -> Laid:
        """Rows [R, J] of a chunk whose row 0 belongs to path time ``first_ns``, for an arm that moves at ``now_ns``."""
        times, inside, switches = self._switched(chunk, inside, now_ns, first_ns, None)
        blend = self._blend.joined(older, chunk, now_ns)
        rows = join_rows(chunk, inside, older, now_ns, first_ns=first_ns, blend=blend)
        return Laid(rows, 0.0, _exhausted(chunk), times, inside, switches)

    def from_rest(self, chunk: Chunk, inside: Array, standing: Array, pose: Array, now_ns: int) -> Laid | Verdict:
        """Rows [R, J] of a chunk for an arm that stands, or the refusal.

        ``standing`` [J] is where the motion begins, ``pose`` where the arm is: the same but for position limits.
        """
        times, inside, switches = self._switched(chunk, inside, now_ns, now_ns, standing)
        far = judge_start(chunk, inside[0], pose, self._names, self._config.start_tolerance)
        if far.accepted:
            return Laid(rows_from_rest(chunk, inside, now_ns), 0.0, _exhausted(chunk), times, inside, switches)
        if self._config.approach_s is None:
            return far
        approach_s = approach_duration_s(inside[0] - standing, self._limits, self._config.approach_s)
        at_the_end = Reason.NO_CHUNK, f"arrived where chunk {chunk.chunk_id} begins; waiting for a chunk from there"
        rows = rows_to_approach(chunk, inside[0], now_ns, approach_s)
        return Laid(rows, approach_s, at_the_end, times, inside, switches)

    def take(self, laid: Laid, now_ns: int, *, standing: bool) -> None:
        """Remember rows that are followed from now on."""
        if standing:
            self._blend.forget()
        self._blend.remember(laid.rows.chunk, laid.times_ns, laid.positions, now_ns)
        if self._gripper is not None:
            self._gripper.take(laid.switches)

    def _switched(
        self, chunk: Chunk, inside: Array, now_ns: int, first_ns: int, standing: Array | None
    ) -> tuple[NDArray[np.int64], Array, tuple[Switch, ...]]:
        times = first_ns + np.arange(len(inside), dtype=np.int64) * chunk.step_ns
        if self._gripper is None:
            return times, inside, ()
        j, inside = self._gripper.joint, inside.copy()
        pose = None if standing is None else float(standing[j])
        inside[:, j], switches = self._gripper.shaped(times, inside[:, j], now_ns, pose)
        return times, inside, switches


def _exhausted(chunk: Chunk) -> tuple[Reason, str]:
    return Reason.ROWS_EXHAUSTED, f"the rows of chunk {chunk.chunk_id} end and no newer chunk came"
