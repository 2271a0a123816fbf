# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a chunk: its rows by themselves, and its times against the clock and the current chunk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.clock_offset import FUTURE_TOLERANCE_S, SYNCHRONISE
from swiftvla_ros.contract.executor_codes import ChunkSource, Refusal
from swiftvla_ros.contract.turns import nearest, unwrapped
from swiftvla_ros.motion.chunk import NS, AcceptedChunk, ChunkRefused, JointChunk, MotionStart
from swiftvla_ros.motion.config import ExecutorConfig

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Situation:
    """What a chunk comes into.

    Attributes
    ----------
    closed
        Why no chunk is followed at all; empty while one may be.
    held, gave_back_ns
        Whether an operator holds the arm, and when it was given back last.
    not_ready
        Why the arm can't begin a motion now; empty where it can.
    current
        The chunk of the same source that is followed, or was last.
    changes_source
        The motion that is followed is another source's: a person takes over, or gives back.
    path_age_s
        Path time since the chunk's observation; None while nothing is followed.
    start
        Present time, and where the arm is; None only where it is not ready.
    """

    closed: str
    held: bool
    gave_back_ns: int
    not_ready: str = ""
    current: JointChunk | None = None
    changes_source: bool = False
    path_age_s: float | None = None
    start: MotionStart | None = None


class ChunkAcceptance:
    """Accepts chunks for one robot.

    Parameters
    ----------
    joint_names
        The columns' order.
    low, high
        Where rows are drawn to [J] that lie outside; infinite for continuous joints.
    config
        Times and distances that are accepted.
    """

    def __init__(self, joint_names: tuple[str, ...], low: Array, high: Array, config: ExecutorConfig) -> None:
        self._names, self._low, self._high, self._config = joint_names, low, high, config
        self._continuous = np.isinf(high)
        self._switched = [joint_names.index(gripper.joint) for gripper in config.switched]

    def accept(self, chunk: JointChunk, situation: Situation) -> AcceptedChunk:
        """Accept a chunk with which nothing is wrong, and to which the motion may begin as it would.

        Raises
        ------
        ChunkRefused
            It may not be followed now, something is wrong with it, or it begins far from a standing arm, or from one
            that another source moves.
        """
        if situation.closed:
            raise ChunkRefused(Refusal.NOT_READY, situation.closed)
        check_holder(chunk, held=situation.held, gave_back_ns=situation.gave_back_ns)
        start = situation.start
        if situation.not_ready or start is None:
            raise ChunkRefused(Refusal.NOT_READY, situation.not_ready)
        current, path_age_s = situation.current, situation.path_age_s
        positions = ordered_positions(chunk, self._names)
        check_times(chunk, len(positions), current, self._config, start.now_ns, path_age_s)
        if path_age_s is not None and current is not None and not situation.changes_source:
            check_source(chunk, current)
        positions = self._at_turn(positions, chunk.step_ns, path_age_s, start)
        inside = np.clip(positions, self._low, self._high)
        far = start.standing and self._starts_far(chunk, inside[0], start)
        if situation.changes_source and not start.standing:
            self._refuse_far_change(chunk, inside[self._due(chunk.step_ns, len(inside), path_age_s, start)], start)
        return AcceptedChunk(chunk, positions, inside, start, far)

    def _at_turn(self, positions: Array, step_ns: int, path_age_s: float | None, start: MotionStart) -> Array:
        """Rows [rows, J] whose continuous joints turn from each row to the next the shorter way, as from the command.

        The row that is due now lies within half a turn of the last command, or of where a standing arm is.
        """
        if not self._continuous.any():
            return positions
        positions = unwrapped(positions, self._continuous)
        row = positions[self._due(step_ns, len(positions), path_age_s, start)]
        return positions + (nearest(row, start.state[0], self._continuous) - row)

    @staticmethod
    def _due(step_ns: int, rows: int, path_age_s: float | None, start: MotionStart) -> int:
        """Which row is due now."""
        due = 0 if start.standing or path_age_s is None else round(path_age_s * NS / step_ns)
        return min(max(due, 0), rows - 1)

    def _refuse_far_change(self, chunk: JointChunk, due: Array, start: MotionStart) -> None:
        """Refuse to change from one source to another in motion where the row [J] that is due is far from the arm."""
        due = due.copy()
        due[self._switched] = start.state[0, self._switched]
        gap, tolerance = np.abs(due - start.state[0]), self._config.start_tolerance_rad
        j = int(gap.argmax())
        if gap[j] > tolerance:
            raise ChunkRefused(
                Refusal.FAR_FROM_MEASURED,
                f"chunk {chunk.chunk_id}: its target for joint '{self._names[j]}', {due[j]:.3f}, is {gap[j]:.3f} from "
                f"where the joint is commanded, {start.state[0, j]:.3f}, while another source's motion is followed; "
                f"start_tolerance_rad is {tolerance:g}, and from rest it may begin",
            )

    def _starts_far(self, chunk: JointChunk, first: Array, start: MotionStart) -> bool:
        """Whether the first target [J] is far from a standing arm, where the arm may go there."""
        self._refuse_outside(chunk, start.pose)
        first = first.copy()
        first[self._switched] = start.state[0, self._switched]  # a gripper begins where it is, whatever the row says
        gap, tolerance = np.abs(first - start.pose), self._config.start_tolerance_rad
        j = int(gap.argmax())
        if gap[j] <= tolerance or self._config.far_start == "approach":
            return bool(gap[j] > tolerance)
        raise ChunkRefused(
            Refusal.FAR_FROM_MEASURED,
            f"chunk {chunk.chunk_id}: its first target for joint '{self._names[j]}', {first[j]:.3f}, is {gap[j]:.3f} "
            f"from where the joint is, {start.pose[j]:.3f}; start_tolerance is {tolerance:g}",
        )

    def _refuse_outside(self, chunk: JointChunk, pose: Array) -> None:
        """Refuse to begin from a pose [J] outside the limits, where the arm may not go far."""
        outside, tolerance = np.abs(np.clip(pose, self._low, self._high) - pose), self._config.start_tolerance_rad
        j = int(outside.argmax())
        if outside[j] <= tolerance or self._config.far_start == "approach":
            return
        raise ChunkRefused(
            Refusal.FAR_FROM_MEASURED,
            f"chunk {chunk.chunk_id}: joint '{self._names[j]}' stands at {pose[j]:.3f}, {outside[j]:.3f} outside its "
            f"limits [{self._low[j]:.3f}, {self._high[j]:.3f}], more than start_tolerance_rad, {tolerance:g}: move the "
            "arm inside, correct the contract's `position` where the arm may stand there, or write `far_start: "
            "approach`",
        )


def ordered_positions(chunk: JointChunk, joint_names: tuple[str, ...]) -> Array:
    """Give the rows [rows, joints] in the order of ``joint_names``; refuse what are not such rows."""
    try:
        positions = np.asarray(chunk.positions, dtype=np.float64)
    except (TypeError, ValueError):
        text = f"chunk {chunk.chunk_id}: positions are not numbers in rows of equal length"
        raise ChunkRefused(Refusal.WRONG_SHAPE, text) from None
    names = joint_names if chunk.joint_names is None else tuple(chunk.joint_names)
    if sorted(names) != sorted(joint_names):
        missing, unknown = sorted(set(joint_names) - set(names)), sorted(set(names) - set(joint_names))
        raise ChunkRefused(
            Refusal.WRONG_JOINTS,
            f"chunk {chunk.chunk_id} is for the joints {list(names)}: missing {missing}, unknown or repeated "
            f"{unknown or [n for n in names if names.count(n) > 1]}; the contract has {list(joint_names)}",
        )
    if positions.ndim != 2 or positions.shape[0] == 0 or positions.shape[1] != len(joint_names):
        raise ChunkRefused(
            Refusal.WRONG_SHAPE,
            f"chunk {chunk.chunk_id}: positions have shape {positions.shape}; expected [rows >= 1, {len(joint_names)}]",
        )
    positions = positions[:, [names.index(name) for name in joint_names]]
    if not np.isfinite(positions).all():
        row, joint = np.argwhere(~np.isfinite(positions))[0]
        raise ChunkRefused(
            Refusal.NON_FINITE,
            f"chunk {chunk.chunk_id}: row {row} of joint '{joint_names[joint]}' is {positions[row, joint]}",
        )
    return positions


def check_holder(chunk: JointChunk, *, held: bool, gave_back_ns: int) -> None:
    """Refuse the policy's chunks while an operator holds the arm, and what is older than the giving back."""
    name = chunk.name
    if held and chunk.source is not ChunkSource.OPERATOR:
        raise ChunkRefused(
            Refusal.OPERATOR_HOLDS,
            f"{name}: an operator holds the arm; the policy has it again after ~/give_back, which "
            "`teleop/release` calls",
        )
    if chunk.stamp_ns > gave_back_ns:
        return
    before_s = (gave_back_ns - chunk.stamp_ns) / NS
    if chunk.source is ChunkSource.OPERATOR:
        text = f"{name} is {before_s:.3f} s older than the giving back of the arm"
        raise ChunkRefused(Refusal.OLDER_THAN_CURRENT, text)
    text = f"{name}: its observation is {before_s:.3f} s older than the operator's giving back of the arm"
    raise ChunkRefused(Refusal.OPERATOR_HOLDS, text)


def check_source(chunk: JointChunk, followed: JointChunk) -> None:
    """Refuse a chunk that does not come from the policy whose chunk is being followed, rather than from one beside it.

    Two policies, or a bag that is played into a live system, would pull the arm back and forth. The one that is
    followed goes on; another may take over once the arm rests.
    """
    name = f"chunk {chunk.chunk_id}"
    if chunk.checkpoint != followed.checkpoint:
        raise ChunkRefused(
            Refusal.OTHER_CHECKPOINT,
            f"{name} is of checkpoint '{chunk.checkpoint[:12]}' while one of '{followed.checkpoint[:12]}' is followed; "
            "it may take over once the arm rests",
        )
    if chunk.chunk_id < followed.chunk_id and chunk.stamp_ns > followed.stamp_ns:
        raise ChunkRefused(
            Refusal.NOT_MONOTONIC,
            f"{name} has a newer observation than chunk {followed.chunk_id}, the current one, but an older id: "
            "a second policy, or a bag played into a live system? It may take over once the arm rests",
        )


def check_times(
    chunk: JointChunk,
    rows: int,
    current: JointChunk | None,
    config: ExecutorConfig,
    now_ns: int,
    path_age_s: float | None = None,
) -> None:
    """Refuse a chunk of so many rows that does not fit in time: its step, its length, its stamp, its place."""
    name, step_s = f"chunk {chunk.chunk_id}", chunk.step_ns / NS
    wanted = config.step_s if chunk.source is ChunkSource.POLICY else None
    if chunk.step_ns <= 0 or (wanted is not None and abs(step_s - wanted) > 1e-3 * wanted):
        expected = "a positive one" if wanted is None else f"the contract's {wanted:g} s"
        raise ChunkRefused(Refusal.BAD_STEP, f"{name}: its step is {step_s:g} s; expected {expected}")
    if rows * step_s > config.max_chunk_s:
        raise ChunkRefused(
            Refusal.TOO_LONG,
            f"{name}: {rows} rows of {step_s:g} s are longer than max_chunk_s, {config.max_chunk_s:g} s",
        )
    age_s = (now_ns - chunk.stamp_ns) / NS
    if age_s < -FUTURE_TOLERANCE_S:
        text = f"{name}: its observation lies {-age_s:.3f} s in the future of this clock; {SYNCHRONISE}"
        raise ChunkRefused(Refusal.FUTURE_STAMP, text)
    # at a lower speed scale rows last longer, but not an old look at the world
    path_age_s = age_s if path_age_s is None else path_age_s
    rows_s = (rows - 1) * step_s
    if path_age_s >= rows_s or age_s >= max(rows_s, config.tail_timeout_s):
        raise ChunkRefused(Refusal.STALE, f"{name}: all {rows} rows are past; its observation is {age_s:.3f} s old")
    if current is not None and chunk.stamp_ns < current.stamp_ns:
        late_s = (current.stamp_ns - chunk.stamp_ns) / NS
        text = f"{name}: its observation is {late_s:.3f} s older than that of chunk {current.chunk_id}, the current one"
        raise ChunkRefused(Refusal.OLDER_THAN_CURRENT, text)
    if current is not None and (chunk.stamp_ns, chunk.chunk_id) == (current.stamp_ns, current.chunk_id):
        raise ChunkRefused(Refusal.DUPLICATE, f"{name} is the current one already")
