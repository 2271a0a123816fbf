# SPDX-License-Identifier: Apache-2.0
"""Draw ``docs/images/ablation.png`` from ``docs/ablation.json``: ``python docs/plots/ablation.py [JSON] [PNG]``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from swiftvla_ros.sim.evaluation.statistics import wilson

DOCS = Path(__file__).parents[1]
# Blue and orange of the Okabe-Ito palette, which colour-blind readers tell apart; the markers differ, too.
STYLES = {"2d": ("by images alone", "#0072B2", "o", -0.13), "4d": ("with live 4D features", "#E69F00", "s", 0.13)}


def main(results: Path = DOCS / "ablation.json", image: Path = DOCS / "images" / "ablation.png") -> None:
    """Draw every row that was measured, seeds pooled, with 95 % intervals, and what the paper says."""
    content = json.loads(results.read_text(encoding="utf-8"))
    rows: dict[str, list[dict[str, Any]]] = {}
    for run in content["runs"]:
        if run["results"]:
            rows.setdefault(run["row"], []).append(run)
    figure, axes = plt.subplots(figsize=(8.5, 1.4 + 0.62 * len(rows)), layout="constrained")
    for y, runs in enumerate(rows.values()):
        if y % 2:
            axes.axhspan(y - 0.5, y + 0.5, color="0.96", zorder=0)
        for name, (_, color, marker, shift) in STYLES.items():
            shares = [run["results"][name]["done"]["all"] for run in runs if name in run["results"]]
            if shares:
                pooled = wilson(sum(s["count"] for s in shares), sum(s["total"] for s in shares))
                axes.plot([pooled.low, pooled.high], [y + shift] * 2, color=color, linewidth=2, zorder=2)
                axes.plot(pooled.share, y + shift, marker, color=color, markersize=8, zorder=3)
            if (paper := runs[0]["paper"].get(name)) is not None:
                axes.plot(paper, y + 2.2 * shift, marker, color=color, markersize=7, markerfacecolor="none", zorder=3)
    for label, color, marker, _ in STYLES.values():
        axes.plot([], [], marker, color=color, markersize=8, label=label)
    axes.plot([], [], "o", color="0.3", markersize=8, markerfacecolor="none", label="the paper's (other tasks)")
    axes.set_yticks(range(len(rows)), [runs[0]["title"] for runs in rows.values()])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0))
    axes.grid(axis="x", color="0.88", zorder=0)
    axes.set_axisbelow(True)
    common = content["settings"]
    rollouts = f"{common['episodes']} rollouts a point and seed"
    axes.set_xlabel(f"task done ({rollouts}; bars: 95 % intervals)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    image.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
