# SPDX-License-Identifier: Apache-2.0
"""Draws a replay: the recorded and the recomputed rows and commands, and how far they are apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from swiftvla_ros.replay.report import ReplayReport

_NS = 1e9
# Differences are drawn on a logarithmic axis, on which 0 has no place.
_LEAST = 1e-12


def plot_replay(report: ReplayReport, path: Path) -> None:
    """Write a PNG: per joint the commands then and now with the chunks' rows, and every chunk's largest difference."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    commands, names = report.commands, report.joint_names
    times = np.array(commands.times_ns, dtype=np.int64)
    zero = int(times[0]) if len(times) else report.chunks[0].chunk.stamp_ns
    recorded, replayed = np.array(commands.recorded), np.array(commands.replayed)
    figure, axes = plt.subplots(len(names), 2, figsize=(13, 2.1 * len(names)), sharex=True, squeeze=False)
    for j, name in enumerate(names):
        motion, difference = axes[j]
        for chunk in report.computed:
            assert chunk.rows is not None
            t = (chunk.chunk.stamp_ns - zero + chunk.chunk.step_ns * np.arange(len(chunk.rows))) / _NS
            motion.plot(t, chunk.rows[:, j], color="0.8", linewidth=0.6, zorder=0)
        if len(times):
            motion.plot((times - zero) / _NS, recorded[:, j], color="tab:orange", linewidth=2.4, label="command then")
            motion.plot((times - zero) / _NS, replayed[:, j], color="tab:blue", linewidth=0.9, label="command now")
            gap = np.maximum(np.abs(replayed - recorded)[:, j], _LEAST)
            difference.plot((times - zero) / _NS, gap, color="tab:blue", linewidth=0.9, label="commands")
        t = np.array([(c.chunk.stamp_ns - zero) / _NS for c in report.computed])
        gaps = np.array([c.difference[j] for c in report.computed])
        difference.plot(t, np.maximum(gaps, _LEAST), ".", color="tab:red", label="chunks")
        difference.set_yscale("log")
        difference.set_ylim(_LEAST / 3, 1.0)
        motion.set_ylabel(name, fontsize=9)
        motion.margins(x=0.01)
    axes[0, 0].set_title("commands then and now; rows of the chunks (grey); rad, or m", fontsize=10)
    axes[0, 1].set_title(f"|now − then|, worst row of each chunk; {_LEAST:g} stands for 0", fontsize=10)
    for axis in axes[0]:
        axis.legend(loc="upper right", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("s since the first command")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, format="png")
    plt.close(figure)
