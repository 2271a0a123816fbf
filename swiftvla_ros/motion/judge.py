# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a chunk: its rows by themselves, and its times against the clock and the current chunk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.motion.chunk import NS, Chunk, Verdict
from swiftvla_ros.motion.codes import Refusal
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


def judge_times(chunk: Chunk, rows: int, current: Chunk | None, config: ExecutorConfig, now_ns: int) -> Verdict:
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
    if age_s >= (rows - 1) * step_s:
        return Verdict(Refusal.STALE, f"{name}: all {rows} rows are past; its observation is {age_s:.3f} s old")
    if current is not None and chunk.stamp_ns < current.stamp_ns:
        late_s = (current.stamp_ns - chunk.stamp_ns) / NS
        text = f"{name}: its observation is {late_s:.3f} s older than that of chunk {current.chunk_id}, the current one"
        return Verdict(Refusal.OLDER_THAN_CURRENT, text)
    if current is not None and (chunk.stamp_ns, chunk.chunk_id) == (current.stamp_ns, current.chunk_id):
        return Verdict(Refusal.DUPLICATE, f"{name} is the current one already")
    return Verdict()
