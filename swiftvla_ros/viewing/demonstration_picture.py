# SPDX-License-Identifier: Apache-2.0
"""One picture of a demonstration: what the cameras saw, each joint as commanded and measured, and what is wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.quality.coverage import object_places, usual_picture
from swiftvla_ros.episodes.quality.findings import Digest, ExaminedEpisode, Finding
from swiftvla_ros.viewing.run_picture import COMMANDED, LIMIT, MEASURED

_MOMENTS = 6
_COLUMNS = 2
_WIDTH = 150
_TITLE_IN = 0.35
_DPI = 80
_LEVELS = {"error": "#c0392b", "warning": "#b9770e"}
# A joint at rest must not look as if it shook, rad or m.
_LEAST_RANGE = 0.2


def draw_demonstration(evidence: ExaminedEpisode, findings: Sequence[Finding], path: Path) -> None:
    """Write a PNG of one episode."""
    plt = _pyplot()
    episode, contract = evidence.episode, evidence.contract
    rows = -(-len(contract.joints) // _COLUMNS)
    lines = [(f.level, line) for f in findings for line in textwrap.wrap(f.line(), _WIDTH)]
    heights = [1.7 * len(episode.images), 1.25 * rows, 0.3 + 0.19 * len(lines)]
    inches = sum(heights) + _TITLE_IN
    # Laid out by hand: finding a layout takes longer than drawing, and there may be hundreds of episodes.
    figure: Any = plt.figure(figsize=(11, inches))
    figure.suptitle(
        f'{evidence.name}   "{episode.instruction}"   {evidence.seconds:.1f} s, {len(episode.state)} steps',
        fontsize=12, x=0.01, y=1 - 0.1 / inches, ha="left", va="top", fontweight="bold",
    )  # fmt: skip
    _, strip, joints, below = figure.subfigures(4, 1, height_ratios=[_TITLE_IN, *heights], hspace=0)
    strip.subplots_adjust(left=0.01, right=0.99, bottom=0.03, top=1 - 0.25 / heights[0], hspace=0.2, wspace=0.04)
    joints.subplots_adjust(
        left=0.05, right=0.99, bottom=0.25 / heights[1], top=1 - 0.2 / heights[1], hspace=0.5, wspace=0.1
    )
    moments = np.unique(np.linspace(0, len(episode.state) - 1, _MOMENTS).round().astype(int))
    seconds = episode.stamps_s - episode.stamps_s[0]
    axes = strip.subplots(len(episode.images), len(moments), squeeze=False)
    for row, (camera, images) in zip(axes, episode.images.items(), strict=True):
        for axis, step in zip(row, moments, strict=True):
            axis.imshow(images[step])
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(f"{camera} {seconds[step]:.1f} s", fontsize=8)
    _draw_joints(joints.subplots(rows, _COLUMNS, squeeze=False).ravel(), evidence)
    for k, (level, line) in enumerate(lines or [("", "nothing is wrong")]):
        below.text(0.01, 0.97 - k / max(len(lines), 1), line, fontsize=8, va="top", color=_LEVELS.get(level, "#2e7d32"))
    figure.savefig(path, dpi=_DPI, format="png")
    plt.close(figure)


def draw_coverage(digests: Sequence[Digest], contract: Contract, path: Path) -> None:
    """Write a PNG of what all episodes show: where the arm starts and goes, and where things lie at first."""
    plt = _pyplot()
    figure, (poses, places) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", width_ratios=[3, 2])
    for joint, name in enumerate(contract.joint_names):
        lowest, highest = (np.array([getattr(d, key)[joint] for d in digests]) for key in ("lowest", "highest"))
        poses.plot([lowest.min(), highest.max()], [joint, joint], color="#cccccc", linewidth=7, solid_capstyle="butt")
        starts = [digest.start[joint] for digest in digests]
        poses.plot(starts, np.full(len(starts), joint), "|", color=MEASURED, markersize=14, markeredgewidth=1.2)
        if not contract.limits.continuous[joint]:
            low, high = contract.limits.min_position[joint], contract.limits.max_position[joint]
            poses.plot([low, high], [joint, joint], "x", color=LIMIT, markersize=5)
        poses.text(0.01, joint + 0.28, name, fontsize=8, transform=poses.get_yaxis_transform())
    poses.set_yticks([])
    poses.set_xlabel("rad or m", fontsize=8)
    poses.set_title("start poses (lines), where the joints went (grey), limits (x)", fontsize=9, loc="left")
    camera = contract.camera_names[0]
    picture = usual_picture(digests, camera)
    places.imshow(picture)
    seen = object_places(digests, camera) * [picture.shape[1], picture.shape[0]]
    places.plot(seen[:, 0], seen[:, 1], "o", color="#ff2d95", markersize=5, markeredgecolor="white")
    places.set_xticks([])
    places.set_yticks([])
    places.set_title(f"{camera}: what differs in {len(seen)} first pictures", fontsize=9, loc="left")
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def _draw_joints(axes: Any, evidence: ExaminedEpisode) -> None:
    streams, contract = evidence.streams, evidence.contract
    begin_s = float(evidence.episode.stamps_s[0])
    for joint, axis in enumerate(axes):
        if joint >= len(contract.joints):
            axis.axis("off")
            continue
        measured, commanded = streams.state[:, joint], streams.commanded[:, joint]
        for at_s, _ in evidence.episode.metadata.get("steps_left_out", ()):
            axis.axvspan(at_s, at_s + contract.policy.step_s, color="#f3d0cc", linewidth=0)
        axis.plot(streams.state_s - begin_s, commanded, color=COMMANDED, linewidth=1.0, label="commanded")
        axis.plot(streams.state_s - begin_s, measured, color=MEASURED, linewidth=1.0, label="measured")
        low, high = np.nanmin([measured, commanded]), np.nanmax([measured, commanded])
        margin = max(0.08 * (high - low), (_LEAST_RANGE - (high - low)) / 2)
        axis.set_ylim(low - margin, high + margin)
        for limit in (contract.joints[joint].lowest, contract.joints[joint].highest):
            axis.axhline(limit, color=LIMIT, linewidth=0.8, linestyle="--")
        axis.set_title(contract.joint_names[joint], fontsize=8, loc="left", pad=2)
        axis.tick_params(labelsize=7)
    axes[0].legend(loc="upper right", fontsize=7, ncols=2, framealpha=0.7)


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt
