# SPDX-License-Identifier: Apache-2.0
"""What the ablation's runs say together: shares, paired differences, gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.table import Table

from _ablation_rows import INPUTS, ROWS
from swiftvla_ros.sim.evaluation.statistics import wilson

BASELINE = "2d"
DRAWS = 10_000
"""Of the bootstrap."""


def conflicts(measured: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Of a training's gradients on the shared layers by loss: mean norm, mean cosine to the action's, share below 0."""
    told = {}
    for loss in sorted({key.removesuffix(" norm") for line in measured for key in line if key.endswith(" norm")}):
        norms = [line[f"{loss} norm"] for line in measured if f"{loss} norm" in line]
        cosines = np.array([line[f"{loss} cosine"] for line in measured if f"{loss} cosine" in line])
        told[loss] = {
            "norm": float(np.mean(norms)),
            "cosine": float(cosines.mean()),
            "conflict": float((cosines < 0).mean()),
            "measured": len(norms),
        }
    return told


@dataclass(frozen=True)
class Difference:
    """How much more of the same scenes a row does than another, seeds pooled, with its 95 % bootstrap interval."""

    difference: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.difference:+.1f} ({100 * self.low:+.1f}…{100 * self.high:+.1f})"


def difference(first: list[list[bool]], second: list[list[bool]]) -> Difference:
    """Of ``second`` less ``first``, each scenes within seeds: scenes are drawn again within their seed.

    How much one training differs from the next with the same options is no part of the interval.
    """
    rng = np.random.default_rng(0)
    apart: list[NDArray[np.float64]] = [np.subtract(b, a, dtype=np.float64) for a, b in zip(first, second, strict=True)]
    draws = np.mean([seed[rng.integers(len(seed), size=(DRAWS, len(seed)))].mean(axis=1) for seed in apart], axis=0)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Difference(float(np.mean([seed.mean() for seed in apart])), float(low), float(high))


def compared(runs: list[dict[str, Any]], first: tuple[str, str], second: tuple[str, str]) -> Difference | None:
    """The difference of two rows' inputs, over the seeds that both have; None where they have none."""

    def verdicts(row: str, given: str) -> dict[int, list[bool]]:
        found = [run for run in runs if run["row"] == row and given in run["results"]]
        return {run["seed"]: [verdict == "DONE" for verdict in run["results"][given]["verdicts"]] for run in found}

    a, b = verdicts(*first), verdicts(*second)
    seeds = sorted(a.keys() & b.keys())
    return difference([a[seed] for seed in seeds], [b[seed] for seed in seeds]) if seeds else None


def table(runs: list[dict[str, Any]]) -> Table:
    """All rows, seeds pooled, beside the paper's, and what each has more than 2D only, in points.

    "Deployed" is the share of samples that train the network as it is deployed.
    """
    headings = (
        "training",
        "steps, deployed",
        "images alone",
        "paper",
        "less 2D only",
        "with live 4D",
        "paper",
        "4D taken away",
        "seeds",
    )
    shown = Table(*headings, box=SIMPLE, title="task done; 95 % intervals")
    for row in ROWS:
        entries = [run for run in runs if run["row"] == row.name and run["results"]]
        if not entries:
            continue
        cells = {}
        for name in INPUTS:
            shares = [run["results"][name]["done"]["all"] for run in entries if name in run["results"]]
            pooled = wilson(sum(s["count"] for s in shares), sum(s["total"] for s in shares))
            cells[name] = f"{pooled.share:.1%} ({pooled.low:.0%}…{pooled.high:.0%})" if shares else ""
        more = None if row.name == BASELINE else compared(runs, (BASELINE, "2d"), (row.name, "2d"))
        taken = compared(runs, (row.name, "4d"), (row.name, "2d"))
        published = [f"{row.paper[name]:.0%}" if name in row.paper else "" for name in INPUTS]
        shown.add_row(
            *(
                row.title,
                f"{entries[0]['training']['step']}, {row.deployed:.0%}",
                cells["2d"],
                published[0],
                str(more or ""),
                cells["4d"],
                published[1],
                str(taken or ""),
            ),
            str(len(entries)),
        )
    return shown


def gradients(runs: list[dict[str, Any]]) -> Table:
    """Each loss's gradient on the text layers, mean of the seeds."""
    headings = ("training", "loss", "norm", "cosine to the action's", "against it")
    shown = Table(*headings, box=SIMPLE, title="gradients on the text layers")
    for row in ROWS:
        told = [run["training"]["gradients"] for run in runs if run["row"] == row.name and run["training"]]
        for loss in sorted({loss for one in told for loss in one}):
            of = [one[loss] for one in told if loss in one]
            norm, cosine, conflict = (np.mean([one[key] for one in of]) for key in ("norm", "cosine", "conflict"))
            shown.add_row(row.title, loss, f"{norm:.3f}", f"{cosine:+.2f}", f"{conflict:.0%}")
    return shown
