# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a chunk: its rows by themselves, and its times against the clock and the current chunk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.executor_codes import Refusal
from swiftvla_ros.motion.chunk import NS, Chunk, Verdict
from swiftvla_ros.motion.config import ExecutorConfig

Array = NDArray[np.float64]

FUTURE_TOLERANCE_S = 0.05
"""How far in the future an observation may lie, for clocks that are nearly, not quite, the same."""


def ordered_positions(chunk: Chunk, joint_names: tuple[str, ...]) -> Array | Verdict:
    """Give the rows [rows, joints] in the order of ``joint_names``, or the refusal when they are not such rows."""
    try:
        positions = np.asarray(chunk.positions, dtype=np.float64)
    except (TypeError, ValueError):
        return Verdict(
            Refusal.WRONG_SHAPE, f"chunk {chunk.chunk_id}: positions are not numbers in rows of equal length"
        )
    names = joint_names if chunk.joint_names is None else tuple(chunk.joint_names)
    if sorted(names) != sorted(joint_names):
        missing, unknown = sorted(set(joint_names) - set(names)), sorted(set(names) - set(joint_names))
        return Verdict(
            Refusal.WRONG_JOINTS,
            f"chunk {chunk.chunk_id} is for the joints {list(names)}: missing {missing}, unknown or repeated "
            f"{unknown or [n for n in names if names.count(n) > 1]}; the contract has {list(joint_names)}",
        )
    if positions.ndim != 2 or positions.shape[0] == 0 or positions.shape[1] != len(joint_names):
        return Verdict(
            Refusal.WRONG_SHAPE,
            f"chunk {chunk.chunk_id}: positions have shape {positions.shape}; expected [rows >= 1, {len(joint_names)}]",
        )
    positions = positions[:, [names.index(name) for name in joint_names]]
    if not np.isfinite(positions).all():
        row, joint = np.argwhere(~np.isfinite(positions))[0]
        return Verdict(
            Refusal.NON_FINITE,
            f"chunk {chunk.chunk_id}: row {row} of joint '{joint_names[joint]}' is {positions[row, joint]}",
        )
    return positions


def judge_source(chunk: Chunk, followed: Chunk) -> Verdict:
    """Whether a chunk comes from the policy whose chunk is being followed, rather than from one beside it.

    Two policies, or a bag that is played into a live system, would pull the arm back and forth. The one that is
    followed goes on; another may take over once the arm rests.
    """
    name = f"chunk {chunk.chunk_id}"
    if chunk.checkpoint != followed.checkpoint:
        return Verdict(
            Refusal.OTHER_CHECKPOINT,
            f"{name} is of checkpoint '{chunk.checkpoint[:12]}' while one of '{followed.checkpoint[:12]}' is followed; "
            "it may take over once the arm rests",
        )
    if chunk.chunk_id < followed.chunk_id and chunk.stamp_ns > followed.stamp_ns:
        return Verdict(
            Refusal.NOT_MONOTONIC,
            f"{name} has a newer observation than chunk {followed.chunk_id}, the current one, but an older id: "
            "a second policy, or a bag played into a live system? It may take over once the arm rests",
        )
    return Verdict()


def judge_start(chunk: Chunk, target: Array, pose: Array, joint_names: tuple[str, ...], tolerance: float) -> Verdict:
    """Whether the first target [J] of a chunk is near the pose [J] of a standing arm."""
    gap = np.abs(target - pose)
    j = int(gap.argmax())
    if gap[j] <= tolerance:
        return Verdict()
    return Verdict(
        Refusal.FAR_FROM_MEASURED,
        f"chunk {chunk.chunk_id}: its first target for joint '{joint_names[j]}', {target[j]:.3f}, is {gap[j]:.3f} from "
        f"where the joint is, {pose[j]:.3f}; start_tolerance is {tolerance:g}",
    )


def judge_times(
    chunk: Chunk, rows: int, current: Chunk | None, config: ExecutorConfig, now_ns: int, path_age_s: float | None = None
) -> Verdict:
    """Whether a chunk of so many rows fits in time: its step, its length, its stamp and its place in the stream."""
    name, step_s = f"chunk {chunk.chunk_id}", chunk.step_ns / NS
    wanted = config.step_s
    if chunk.step_ns <= 0 or (wanted is not None and abs(step_s - wanted) > 1e-3 * wanted):
        expected = "a positive one" if wanted is None else f"the contract's {wanted:g} s"
        return Verdict(Refusal.BAD_STEP, f"{name}: its step is {step_s:g} s; expected {expected}")
    if rows * step_s > config.max_chunk_s:
        return Verdict(
            Refusal.TOO_LONG,
            f"{name}: {rows} rows of {step_s:g} s are longer than max_chunk_s, {config.max_chunk_s:g} s",
        )
    age_s = (now_ns - chunk.stamp_ns) / NS
    if age_s < -FUTURE_TOLERANCE_S:
        return Verdict(Refusal.FUTURE_STAMP, f"{name}: its observation lies {-age_s:.3f} s in the future")
    # at a lower speed scale rows last longer, but not an old look at the world
    path_age_s = age_s if path_age_s is None else path_age_s
    rows_s = (rows - 1) * step_s
    if path_age_s >= rows_s or age_s >= max(rows_s, config.tail_timeout_s):
        return Verdict(Refusal.STALE, f"{name}: all {rows} rows are past; its observation is {age_s:.3f} s old")
    if current is not None and chunk.stamp_ns < current.stamp_ns:
        late_s = (current.stamp_ns - chunk.stamp_ns) / NS
        text = f"{name}: its observation is {late_s:.3f} s older than that of chunk {current.chunk_id}, the current one"
        return Verdict(Refusal.OLDER_THAN_CURRENT, text)
    if current is not None and (chunk.stamp_ns, chunk.chunk_id) == (current.stamp_ns, current.chunk_id):
        return Verdict(Refusal.DUPLICATE, f"{name} is the current one already")
    return Verdict()
