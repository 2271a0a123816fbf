# SPDX-License-Identifier: Apache-2.0
"""Draw ``docs/images/motion.png``: chunks of a noisy policy, a changed mind, chunks that stop, and the command."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt

from swiftvla_ros.contract import Limits
from swiftvla_ros.motion import ChunkExecutor, ExecutorConfig, JointChunk, Mode

MS = 1_000_000
IMAGE = Path(__file__).parents[1] / "images" / "motion.png"
LIMITS = Limits(*(np.array([x]) for x in (-1.5, 1.5, 2.5, 12.0, 150.0)))
CHUNK_EVERY_MS, LATENCY_MS, TURN_MS, DEAD_MS, END_MS = 200, 120, 1300, 2400, 4000
COLORS = {
    Mode.FRESH: "#d9ead3",
    Mode.TAIL: "#fff2cc",
    Mode.DECELERATING: "#f4cccc",
    Mode.HOLD: "#d9d9d9",
}


def wish(t_s: np.ndarray, stamp_ms: int) -> np.ndarray:
    """What the policy wants at a time, having looked at ``stamp_ms``: one way, and after the turn the other."""
    return 0.5 * (1 - np.cos(1.8 * t_s)) if stamp_ms < TURN_MS else 0.1 - 0.45 * np.sin(1.6 * (t_s - TURN_MS / 1000))


def main() -> None:
    """Run the executor over made-up chunks and draw what it commanded."""
    rng = np.random.default_rng(3)
    executor = ChunkExecutor(LIMITS, ("joint",), ExecutorConfig(step_s=0.1))
    executor.seed(np.zeros(1), 0)
    figure, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=(9, 7.2), sharex=True, height_ratios=(3, 1.4, 1.4), layout="constrained"
    )
    commands, modes = [], []
    waiting: list[JointChunk] = []
    for now_ms in range(0, END_MS, 10):
        if now_ms % CHUNK_EVERY_MS == 0 and now_ms < DEAD_MS:
            t = now_ms / 1000 + 0.1 * np.arange(10)
            rows = wish(t, now_ms) + 0.012 * rng.standard_normal(10)
            waiting.append(JointChunk(now_ms * MS, 100 * MS, rows[:, None], now_ms))
            color = f"C{now_ms // CHUNK_EVERY_MS % 10}"
            top.plot(t, rows, "o-", color=color, ms=3, lw=0.6, alpha=0.7)
        if waiting and now_ms >= waiting[0].stamp_ns // MS + LATENCY_MS:
            chunk = waiting.pop(0)
            executor.offer(chunk, now_ms * MS)
            top.axvline(now_ms / 1000, color="0.75", lw=0.6, zorder=0)
        command = executor.tick(now_ms * MS)
        modes.append(executor.mode)
        if command is not None:
            commands.append((now_ms / 1000, *command.position, *command.velocity, *command.acceleration))
    t, position, velocity, acceleration = np.array(commands).T
    top.plot(t, position, "k", lw=2, label="command")
    middle.plot(t, velocity, "k", lw=1.2)
    bottom.plot(t, acceleration, "k", lw=1.2)
    for axis, limit in ((middle, LIMITS.max_velocity[0]), (bottom, LIMITS.max_acceleration[0])):
        axis.axhline(limit, color="C3", lw=0.8, ls="--")
        axis.axhline(-limit, color="C3", lw=0.8, ls="--")
    for axis in (top, middle, bottom):
        for mode, color in COLORS.items():
            at = np.flatnonzero([m is mode for m in modes])
            if len(at):
                for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1):
                    axis.axvspan(run[0] / 100, (run[-1] + 1) / 100, color=color, lw=0, zorder=-1)
        axis.margins(x=0)
    for mode, color in COLORS.items():
        top.fill_between([], [], color=color, label=mode.name)
    top.annotate(
        "the policy changes its mind", (TURN_MS / 1000 + 0.22, 0.78), (1.75, 0.9), arrowprops={"arrowstyle": "->"}
    )
    top.legend(loc="lower left", ncols=5, fontsize=8)
    top.set_ylabel("position, rad\ndots: rows of the chunks")
    middle.set_ylabel("velocity, rad/s")
    bottom.set_ylabel("acceleration, rad/s²")
    bottom.set_xlabel("time, s (grey lines: a chunk is taken over, 0.12 s after its observation)")
    IMAGE.parent.mkdir(exist_ok=True)
    figure.savefig(IMAGE, dpi=90)


if __name__ == "__main__":
    main()
