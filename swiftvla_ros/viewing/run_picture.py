# SPDX-License-Identifier: Apache-2.0
"""One picture of a whole run: what the policy saw and foresaw, the executor's modes, every joint, latencies, limits."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from swiftvla_ros.contract.latency_stages import CHAIN, STAGES, durations_s
from swiftvla_ros.viewing.run_frames import Frame
from swiftvla_ros.viewing.run_summary import Array, Run

MODE_COLORS = {
    "IDLE": "#eeeeee",
    "FRESH": "#b7dfb0",
    "TAIL": "#ffe59a",
    "DECELERATING": "#f7b977",
    "HOLD": "#bcd3ee",
    "RELEASED": "#d5d5d5",
    "STOPPED": "#f08a80",
}
"""The executor's modes, from green to red; the viewer has the same colours."""
STAGE_COLORS = ("#b8b8b8", "#7f9fc4", "#e39a3b", "#9bc48c", "#c98bbd")
COMMANDED, MEASURED, PLANNED, LIMIT = "#1f5fae", "#e2711d", "#8fb8e8", "#c0392b"
GOAL, PATH = "#ff2d95", "#ffe600"

# One instruction's band ends where the next one's begins.
_TOLD_COLORS = ("#e6dff2", "#cfe6ea")
_MARGIN_S = 0.4
# With more chunks than this their fans are a grey carpet: only every n-th is drawn.
_MOST_FANS = 120
# Images on top; with fewer, they are not larger.
_STRIP_PLACES = 6
# A joint at rest must not look as if it shook: a position axis spans this much at least, rad or m.
_LEAST_RANGE = 0.2


def draw_run(run: Run, path: Path, frames: list[Frame], *, title: str) -> None:
    """Write a PNG of a whole run, with some moments (in the order of time; may be none) as images on top."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    joints = len(run.contract.joint_names)
    heights = [*([1.95] if frames else []), 1.1, 1.2 * joints, 2.0]
    figure: Any = plt.figure(figsize=(12.5, sum(heights) + 0.5), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.03, w_pad=0.05, hspace=0.02)
    figure.suptitle(title, fontsize=13, x=0.01, ha="left", fontweight="bold")
    parts = list(figure.subfigures(len(heights), 1, height_ratios=heights).ravel())
    if frames:
        _draw_frames(parts.pop(0), run, frames)
    span = span_s(run)
    modes = parts.pop(0).subplots(1, 1)
    _draw_modes(modes, run, span)
    seams = run.seconds(np.array([s.t_ns for s in run.seams], np.int64))
    for j, (position, velocity) in enumerate(parts.pop(0).subplots(joints, 2, squeeze=False)):
        _draw_joint(position, velocity, run, j, seams)
        for axis in (position, velocity):
            axis.set_xlim(span)
            axis.tick_params(labelsize=8, labelbottom=j == joints - 1)
        if j == 0:
            position.set_title("joint positions", fontsize=10, loc="left")
            velocity.set_title(
                f"commanded velocities; {len(seams)} seams between chunks (grey)", fontsize=10, loc="left"
            )
            position.legend(loc="lower right", fontsize=8, ncols=3, framealpha=0.8, bbox_to_anchor=(1.01, 0.97))
    latency, scale, errors = parts.pop(0).subplots(1, 3)
    _draw_latency(latency, run)
    _draw_speed(scale, run)
    _draw_tracking(errors, run)
    for axis in (latency, scale, errors):
        axis.set_xlim(span)
        axis.tick_params(labelsize=8)
        axis.set_xlabel("s since the first chunk", fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def span_s(run: Run) -> tuple[float, float]:
    """From shortly before the first command to shortly after the arm has come to rest."""
    moving = ~np.isnan(run.ticks.commanded).any(axis=1)
    times = run.seconds(run.ticks.t_ns[moving] if moving.any() else np.array(run.span_ns))
    ends = [e.t_ns for e in run.of("verdict") if e.name != "PENDING"]
    last = max([float(times[-1]), *(float(run.seconds(ns)) for ns in ends)])
    return min(float(times[0]), 0.0) - _MARGIN_S, last + _MARGIN_S


def draw_frame(axis: Any, frame: Frame) -> None:
    """Draw one image with the Fusion Tokens' path, and where the chunk's rows lead the hand."""
    height, width = frame.image.shape[:2]
    axis.imshow(frame.image, interpolation="lanczos")
    size = np.array([width, height])
    if frame.chunk_uv is not None:
        axis.plot(*(frame.chunk_uv * size).T, color="white", linewidth=3.2, solid_capstyle="round")
        axis.plot(*(frame.chunk_uv * size).T, color=COMMANDED, linewidth=1.8, label="the chunk's rows (kinematics)")
    if frame.path_uv is not None:
        goal, path = frame.path_uv[0] * size, frame.path_uv[1:] * size
        axis.plot(*path.T, color="black", linewidth=2.4, alpha=0.6)
        axis.plot(*path.T, color=PATH, linewidth=1.3)
        # From near (large) to far (small).
        sizes = np.linspace(46, 14, len(path))
        axis.scatter(*path.T, s=sizes, color=PATH, edgecolor="black", linewidth=0.6, zorder=3, label="path foreseen")
        axis.scatter(*goal, s=150, facecolor="none", edgecolor="black", linewidth=3.4, zorder=4)
        axis.scatter(*goal, s=150, facecolor="none", edgecolor=GOAL, linewidth=1.8, zorder=4, label="goal foreseen")
    axis.set_xlim(0, width)
    axis.set_ylim(height, 0)
    axis.set_aspect(frame.aspect)
    axis.set_xticks([])
    axis.set_yticks([])


def _draw_frames(part: Any, run: Run, frames: list[Frame]) -> None:
    # Placed by hand: a layout that gives room to labels spreads images of a fixed shape unevenly.
    width = 1 / max(len(frames), _STRIP_PLACES)
    axes = [part.add_axes((i * width + 0.004, 0.13, width - 0.008, 0.72)) for i in range(len(frames))]
    for axis, frame in zip(axes, frames, strict=True):
        draw_frame(axis, frame)
        axis.set_in_layout(False)
        axis.set_anchor("W")
        axis.set_xlabel(f"chunk {frame.chunk_id}, seen at {float(run.seconds(frame.stamp_ns)):.1f} s", fontsize=8)
    part.text(0.004, 0.97, f"what the policy saw ({frames[0].camera} camera) and foresaw", fontsize=10, va="top")
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        legend = part.legend(handles, labels, loc="upper right", ncols=len(labels), fontsize=8, frameon=False)
        legend.set_in_layout(False)


def _draw_modes(axis: Any, run: Run, span: tuple[float, float]) -> None:
    """Bands of the executor's modes with their reasons, above them the instruction, and marks for what happened."""
    from matplotlib.patches import Patch

    for change, (left, right) in zip(run.modes, _bands(run, [m.t_ns for m in run.modes], span), strict=True):
        if right <= left:
            continue
        band = axis.axvspan(left, right, 0, 0.5, color=MODE_COLORS.get(change.mode, "white"), linewidth=0)
        if right - left > 0.04 * (span[1] - span[0]):
            reason = change.reason.replace("_", " ").lower()
            for y, text, size, weight in ((0.35, change.mode, 8, "bold"), (0.14, reason, 7, "normal")):
                # A name that is longer than its band ends there.
                label = axis.text(left, y, f" {text}", fontsize=size, va="center", fontweight=weight, clip_on=True)
                label.set_clip_path(band)
    told = run.of("instruction")
    for k, (event, (left, right)) in enumerate(zip(told, _bands(run, [e.t_ns for e in told], span), strict=True)):
        if event.text and right > left:
            band = axis.axvspan(left, right, 0.56, 1, color=_TOLD_COLORS[k % 2], linewidth=0)
            label = axis.text(left, 0.78, f' "{event.text}"', fontsize=9, va="center", clip_on=True)
            label.set_clip_path(band)
    for event in run.of("verdict"):
        if event.name == "PENDING":
            continue
        at, good = float(run.seconds(event.t_ns)), event.name == "DONE"
        axis.axvline(at, color="green" if good else "red", linewidth=1.6)
        axis.text(at, 0.78, f" {event.name}", fontsize=9, va="center", color="green" if good else "red", clip_on=True)
    for event in run.of("refusal"):
        axis.plot(float(run.seconds(event.t_ns)), 0.52, "v", color="red", markersize=5, clip_on=True)
    axis.set_xlim(span)
    axis.set_ylim(0, 1)
    axis.set_yticks([0.25, 0.78], ["executor", "told"], fontsize=8)
    axis.tick_params(labelsize=7)
    refused = Counter(e.name.replace("_", " ").lower() for e in run.of("refusal"))
    marks = "; red: refused, " + ", ".join(f"{n} × {name}" for name, n in refused.items()) if refused else ""
    axis.set_title(f"what it was told; the executor's mode and its reasons{marks}", fontsize=10, loc="left")
    present = {m.mode for m in run.modes}
    patches = [Patch(color=color, label=mode) for mode, color in MODE_COLORS.items() if mode in present]
    axis.legend(
        handles=patches, loc="lower right", ncols=len(patches), fontsize=7, frameon=False, bbox_to_anchor=(1.01, 0.96),
        handlelength=1.0, columnspacing=0.8,
    )  # fmt: skip


def _bands(run: Run, t_ns: list[int], span: tuple[float, float]) -> list[tuple[float, float]]:
    """Give the part of ``span`` from each time to the next one; of no length where it lies outside."""
    edges = [*(float(run.seconds(ns)) for ns in t_ns), span[1]]
    return [(max(begin, span[0]), min(end, span[1])) for begin, end in pairwise(edges)]


def _draw_joint(position: Any, velocity: Any, run: Run, j: int, seams: Array) -> None:
    limits, joint = run.contract.limits, run.contract.joints[j]
    for axis in (position, velocity):
        axis.vlines(seams, 0, 1, transform=axis.get_xaxis_transform(), colors="0.86", linewidth=0.6, zorder=0)
    for chunk in run.chunks[:: len(run.chunks) // _MOST_FANS + 1]:
        position.plot(
            run.seconds(chunk.times_ns), chunk.positions[:, j], color=PLANNED, linewidth=0.7, alpha=0.8, zorder=1
        )
    position.plot([], [], color=PLANNED, linewidth=0.9, label="planned")
    t, commanded = run.seconds(run.ticks.t_ns), run.ticks.commanded[:, j]
    position.plot(t, commanded, color=COMMANDED, linewidth=1.5, label="commanded", zorder=3)
    t_measured = run.seconds(run.measured.t_ns)
    position.plot(t_measured, run.measured.position[:, j], color=MEASURED, linewidth=1.0, label="measured", zorder=2)
    if len(t) > 1:
        step = np.diff(t)
        rate = np.diff(commanded) / np.where(step > 0, step, np.nan)
        velocity.plot(t[1:], rate, color=COMMANDED, linewidth=0.9)
    low, high = position_range(run, j)
    position.set_ylim(low, high)
    for bound in (limits.min_position[j], limits.max_position[j]):
        if low < bound < high:
            position.axhline(bound, color=LIMIT, linestyle="--", linewidth=0.9)
    for bound in (-limits.max_velocity[j], limits.max_velocity[j]):
        velocity.axhline(bound, color=LIMIT, linestyle="--", linewidth=0.9)
    unit = "m" if joint.unit in ("m", "mm") else "rad"
    position.set_ylabel(f"{joint.name}\n{unit}", fontsize=8)
    between = f"limits {limits.min_position[j]:.2f} … {limits.max_position[j]:.2f}"
    if limits.continuous[j]:
        between = "continuous"
    position.text(
        0.99, 0.88, between, transform=position.transAxes, fontsize=7, ha="right", va="center", color=LIMIT,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.7},
    )  # fmt: skip
    velocity.set_ylabel(f"{unit}/s", fontsize=8)


def position_range(run: Run, j: int) -> tuple[float, float]:
    """What the position axis of a joint shows: where it was and was sent, with some room."""
    values = [run.measured.position[:, j], run.ticks.commanded[:, j], *(c.positions[:, j] for c in run.chunks)]
    every = np.concatenate(values)
    every = every[np.isfinite(every)]
    if not len(every):
        return -1.0, 1.0
    low, high = float(every.min()), float(every.max())
    room = max(0.12 * (high - low), (_LEAST_RANGE - (high - low)) / 2)
    return low - room, high + room


def _draw_latency(axis: Any, run: Run) -> None:
    """Stack each chunk's stages over its arrival."""
    first = run.first_commands()
    stages = [durations_s(CHAIN, c.stamps_ns(first.get(c.stamp_ns, 0))) for c in run.chunks]
    t = run.seconds(np.array([c.received_ns for c in run.chunks], np.int64))
    width = 0.8 * float(np.median(np.diff(t))) if len(t) > 1 else 0.05
    base = np.zeros(len(t))
    for name, color in zip(CHAIN, STAGE_COLORS, strict=True):
        ms = np.array([1e3 * stage.get(name, 0.0) for stage in stages])
        axis.bar(t, ms, width, bottom=base, color=color, label=str(STAGES[name]))
        base = base + ms
    axis.set_title("from the camera's stamp to the arm, each chunk, ms", fontsize=9, loc="left")
    if len(t):
        axis.set_ylim(0, 1.55 * max(float(base.max()), 1.0))
        axis.legend(fontsize=7, loc="upper left", ncols=2, framealpha=0.8)


def _draw_speed(axis: Any, run: Run) -> None:
    ticks = run.ticks
    t = run.seconds(ticks.t_ns)
    axis.plot(t, 100 * ticks.speed_scale, color="black", linewidth=1.0, label="speed scale, %")
    axis.set_ylim(0, 200)
    counts = axis.twinx()
    for name, values in (
        ("position", ticks.position_clamps),
        ("velocity", ticks.velocity_clamps),
        ("acceleration", ticks.acceleration_clamps),
    ):
        counts.plot(t, values.sum(axis=1), linewidth=1.2, label=f"{name} limit", drawstyle="steps-post")
    counts.plot(t, ticks.refused, color="red", linewidth=1.2, label="refused chunks", drawstyle="steps-post")
    counts.set_ylim(0, max(1.6 * counts.get_ylim()[1], 4))
    counts.tick_params(labelsize=7)
    lines = [*axis.get_lines(), *counts.get_lines()]
    axis.legend(lines, [str(line.get_label()) for line in lines], fontsize=7, loc="upper left", ncols=2, framealpha=0.8)
    axis.set_title("speed (left), ticks at a limit and refusals (right)", fontsize=9, loc="left")


def _draw_tracking(axis: Any, run: Run) -> None:
    t = run.seconds(run.ticks.t_ns)
    for j, name in enumerate(run.contract.joint_names):
        axis.plot(t, run.ticks.tracking_error[:, j], linewidth=0.9, label=name)
    axis.set_title("commanded minus measured, rad or m", fontsize=9, loc="left")
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.5 * (high - low))
    axis.legend(fontsize=7, loc="upper left", ncols=3, framealpha=0.8)
