# SPDX-License-Identifier: Apache-2.0
"""Draw ``docs/images/motion_blends.png``, ``motion_speed.png`` and ``motion_states.png`` from the executor itself."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from swiftvla_ros.contract import Limits
from swiftvla_ros.contract.control import BlendConfig
from swiftvla_ros.motion import ChunkExecutor, ExecutorConfig, JointChunk, Mode

MS = 1_000_000
IMAGES = Path(__file__).parents[1] / "images"
LIMITS = Limits(*(np.array([x]) for x in (-1.5, 1.5, 2.5, 12.0, 150.0)))
KINDS = {
    "smooth": "smooth (default): paths fade, 0.1 s or longer",
    "replace": "replace: the shortest way over",
    "linear": "linear, over 0.3 s",
    "cosine": "cosine, over 0.3 s",
    "ensemble": "ensemble, decay 0.1",
}
TURN_MS = 1000


def wish(t_s: np.ndarray, stamp_ms: int) -> np.ndarray:
    """What the policy wants: a wave, and after the turn one that lies lower."""
    return 0.4 * (1 - np.cos(1.8 * t_s)) - (0.15 if stamp_ms >= TURN_MS else 0.0)


def run(kind: str) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Commands [N, 4] (time and state) for noisy chunks each 0.2 s that come 0.1 s late; and the chunks."""
    rng = np.random.default_rng(5)
    executor = ChunkExecutor(LIMITS, ("joint",), ExecutorConfig(step_s=0.1, blend=BlendConfig(kind=kind)))
    executor.seed(np.zeros(1), 0)
    commands, chunks, waiting = [], [], []
    for now_ms in range(0, 2200, 10):
        if now_ms % 200 == 0:
            t = now_ms / 1000 + 0.1 * np.arange(10)
            rows = wish(t, now_ms) + 0.015 * rng.standard_normal(10)
            chunks.append((t, rows))
            waiting.append(JointChunk(now_ms * MS, 100 * MS, rows[:, None], now_ms))
        if waiting and now_ms * MS >= waiting[0].stamp_ns + 100 * MS:
            executor.offer(waiting.pop(0), now_ms * MS)
        command = executor.tick(now_ms * MS)
        if command is not None:
            commands.append((now_ms / 1000, *command.position, *command.velocity, *command.acceleration))
    return np.array(commands), chunks


def draw_blends() -> None:
    """Every kind of blend in the same company."""
    figure, axes = plt.subplots(2, 5, figsize=(14, 5.2), sharex=True, sharey="row", layout="constrained")
    for (kind, title), (top, bottom) in zip(KINDS.items(), axes.T, strict=True):
        commands, chunks = run(kind)
        for k, (t, rows) in enumerate(chunks):
            top.plot(t, rows, ".-", color=f"C{k % 10}", ms=3, lw=0.5, alpha=0.6)
        top.plot(commands[:, 0], commands[:, 1], "k", lw=1.8)
        top.axvline(TURN_MS / 1000 + 0.1, color="C3", lw=0.8, ls=":")
        top.set_title(title, fontsize=9)
        bottom.plot(commands[:, 0], commands[:, 3], "k", lw=1.0)
        jerk = np.abs(np.diff(commands[:, 3]) / np.diff(commands[:, 0]))
        late = commands[1:, 0] > 0.6
        late_jerk = np.sqrt((jerk[late] ** 2).mean())
        text = f"jerk, rms {late_jerk:.0f}, peak {jerk[late].max():.0f} rad/s³"
        bottom.text(0.03, 0.03, text, transform=bottom.transAxes, fontsize=8)
        bottom.set_xlabel("time, s")
        bottom.set_ylim(-11.0, 7.0)
        top.set_xlim(0.1, 2.2)
    axes[0, 0].set_ylabel("position, rad\nblack: command; dots: rows")
    axes[1, 0].set_ylabel("acceleration, rad/s²")
    figure.savefig(IMAGES / "motion_blends.png", dpi=80)


def draw_speed() -> None:
    """One chunk at full speed, at half, and with a pause."""
    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(9, 6), sharex=True, layout="constrained")
    slider = {0: 1.0, 900: 0.0, 1700: 0.5, 2900: 1.0}
    for name, scales, color in (("scale 1 throughout", {0: 1.0}, "0.6"), ("scale as below", slider, "k")):
        config = ExecutorConfig(step_s=0.1, tail_timeout_s=6.0, max_chunk_s=10.0)
        executor = ChunkExecutor(LIMITS, ("joint",), config)
        executor.seed(np.zeros(1), 0)
        rows = 0.5 * np.sin(0.9 * (1 - np.cos(1.5 * 0.1 * np.arange(43))))[:, None]
        executor.offer(JointChunk(0, 100 * MS, rows, 1), 0)
        seen = []
        for now_ms in range(0, 5600, 10):
            if now_ms in scales:
                executor.set_speed_scale(scales[now_ms])
            command = executor.tick(now_ms * MS)
            if command is not None:
                seen.append((now_ms / 1000, *command.position, *command.velocity, executor.speed_scale))
        t, position, velocity, scale = np.array(seen).T
        for axis, values in ((top, position), (middle, velocity), (bottom, 100 * scale)):
            axis.plot(t, values, color=color, lw=1.6, label=name)
    times = [t / 1000 for t in [*slider, 5600]]
    bottom.stairs([100 * s for s in slider.values()], times, color="C3", lw=0.9, ls="--", label="topic speed_scale")
    bottom.legend(fontsize=8, loc="lower right")
    top.set_ylabel("position, rad")
    middle.set_ylabel("velocity, rad/s")
    bottom.set_ylabel("speed scale, %")
    bottom.set_xlabel("time, s")
    figure.savefig(IMAGES / "motion_speed.png", dpi=80)


def _box(axis: Axes, mode: Mode, x: float, y: float, color: str, text: str) -> None:
    axis.text(
        x,
        y,
        mode.name,
        ha="center",
        va="center",
        fontsize=11,
        weight="bold",
        bbox={"boxstyle": "round,pad=0.7", "fc": color, "ec": "0.3"},
    )
    axis.text(x, y - 0.42, text, ha="center", va="center", fontsize=7.5)


def _arrow(axis: Axes, begin: tuple[float, float], end: tuple[float, float], text: str, bend: float, at: float) -> None:
    style = {"arrowstyle": "-|>", "connectionstyle": f"arc3,rad={bend}", "color": "0.2", "lw": 1.1}
    axis.annotate("", end, begin, arrowprops=style)
    x, y = (begin[0] + end[0]) / 2, (begin[1] + end[1]) / 2
    axis.text(x, y + at, text, ha="center", va="center", fontsize=8, bbox={"fc": "w", "ec": "none", "pad": 1.0})


def draw_states() -> None:
    """The state machine."""
    figure, axis = plt.subplots(figsize=(12, 5.4), layout="constrained")
    axis.set_xlim(-0.6, 9.7)
    axis.set_ylim(-2.35, 2.3)
    axis.axis("off")
    places = {
        Mode.IDLE: (0.0, 0.0, "#eeeeee", "commands nothing"),
        Mode.FRESH: (2.0, 0.0, "#d9ead3", "newest chunk"),
        Mode.TAIL: (4.0, 0.0, "#fff2cc", "rows that are left"),
        Mode.DECELERATING: (6.0, 0.0, "#f4cccc", "slows along the path"),
        Mode.HOLD: (7.8, 0.0, "#d9d9d9", "commands one pose"),
        Mode.RELEASED: (9.2, 0.0, "#eeeeee", "commands nothing"),
        Mode.STOPPED: (4.0, -1.9, "#ea9999", "fastest stop, latched"),
    }
    for mode, place in places.items():
        _box(axis, mode, *place)
    _arrow(axis, (0.45, 0.0), (1.5, 0.0), "a chunk\nthat begins\nnear the arm", 0.0, 0.36)
    _arrow(axis, (2.5, 0.0), (3.55, 0.0), "no chunk for\nfresh_s", 0.0, 0.3)
    _arrow(axis, (4.45, 0.0), (5.1, 0.0), "", 0.0, 0.0)
    _arrow(axis, (6.9, 0.0), (7.4, 0.0), "rests", 0.0, 0.3)
    _arrow(axis, (8.25, 0.0), (8.6, 0.0), "hold_timeout_s", 0.0, 0.38)
    _arrow(axis, (4.0, 0.3), (2.2, 0.3), "a chunk", 0.35, 0.42)
    _arrow(axis, (6.0, 0.3), (2.1, 0.32), "a chunk", 0.33, 0.8)
    _arrow(axis, (7.8, 0.3), (2.0, 0.34), "a chunk", 0.33, 1.12)
    _arrow(axis, (9.2, 0.3), (1.9, 0.36), "a chunk that begins near the measured pose", 0.33, 1.4)
    _arrow(
        axis,
        (2.2, -0.55),
        (5.6, -0.55),
        "from both: the rows end, tail_timeout_s, stop, a watch, joint state lost",
        0.18,
        -0.42,
    )
    _arrow(axis, (3.4, -1.9), (0.0, -0.6), "reset, once the arm rests", -0.3, -0.42)
    axis.text(6.6, -1.9, "◀  emergency_stop from every mode", ha="center", va="center", fontsize=9)
    figure.savefig(IMAGES / "motion_states.png", dpi=80)


if __name__ == "__main__":
    draw_blends()
    draw_speed()
    draw_states()
