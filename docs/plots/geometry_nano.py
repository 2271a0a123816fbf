# SPDX-License-Identifier: Apache-2.0
"""Draw ``docs/images/geometry_nano.png``: what the small geometry network sees in scenes that it was not trained on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

mpl.use("Agg")

from matplotlib import pyplot as plt

from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.contract import load_contract
from swiftvla_ros.episodes.datasets.store import list_sequences
from swiftvla_ros.geometry import load_geometry
from swiftvla_ros.sim.data.geometry_sequences import render_sequences
from swiftvla_ros.training.geometry.samples import SequenceSamples

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "docs" / "images" / "geometry_nano.png"
SCENES, STEP, CACHE_STEPS = 4, 4, 6
# Far from the seed of the shipped weights' scenes.
SEED = 987_654


def main() -> None:
    """Render a few scenes, run the shipped network over them and draw one step of each."""
    contract = load_contract("so101_sim")
    with tempfile.TemporaryDirectory() as folder:
        render_sequences(Path(folder), SCENES, runner=Runner(progress=False), seed=SEED, contract=contract)
        samples = SequenceSamples(list_sequences(Path(folder)), contract)
    sample = samples.take(np.arange(SCENES))
    with torch.no_grad():
        out = load_geometry(ROOT / "models" / "geometry-nano")(sample.images, CACHE_STEPS, heads=("depth",))
    assert out.depth is not None
    titles = ("camera", "true depth", "predicted depth")
    figure, axes = plt.subplots(SCENES, 3 * len(samples.views), figsize=(9, 6.3), layout="constrained")
    for view, name in enumerate(samples.views):
        columns = axes[:, 3 * view : 3 * view + 3]
        true, found = (depth[:, STEP, view].numpy() for depth in (sample.depth, out.depth))
        low, high = true.min(), true.max()
        for row in range(SCENES):
            columns[row, 0].imshow(sample.images[row, STEP, view].movedim(0, -1).numpy())
            for axis, depth in zip(columns[row, 1:], (true[row], found[row]), strict=True):
                shown = axis.imshow(depth, vmin=low, vmax=high, cmap="viridis_r")
            error = (np.abs(found[row] - true[row]) / true[row]).mean()
            columns[row, 2].set_xlabel(f"abs-rel {error:.3f}", fontsize=8)
        for axis, title in zip(columns[0], titles, strict=True):
            axis.set_title(f"{name}: {title}" if title == "camera" else title, fontsize=9)
        figure.colorbar(shown, ax=columns, location="bottom", shrink=0.7, label=f"m ({name})")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    IMAGE.parent.mkdir(exist_ok=True)
    figure.savefig(IMAGE, dpi=90)


if __name__ == "__main__":
    main()
