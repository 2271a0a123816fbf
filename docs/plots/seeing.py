# SPDX-License-Identifier: Apache-2.0
"""Draw the pictures of ``docs/seeing.md`` from a bag: ``python docs/plots/seeing.py BAG``.

The bag is one of ``swiftvla demo "pick up the red block" --then "touch the blue block" --seed 1``. The picture of the
viewer is rerun's own, without a window: it needs the extra ``view``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib as mpl
from rich.console import Console

mpl.use("Agg")

from matplotlib import pyplot as plt

from swiftvla_ros.cli.commands.plot import draw_bag
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.viewing.rerun.bag import log_bag
from swiftvla_ros.viewing.rerun.output import open_output, quiet_environment, window_command
from swiftvla_ros.viewing.run_frames import find_predictor, frames
from swiftvla_ros.viewing.run_picture import draw_frame
from swiftvla_ros.viewing.run_summary import Run, summarize

IMAGES = Path(__file__).parents[1] / "images"
PORT, SIZE = 9889, "1500x940"
LOADING_S = 8.0
# Where the cursor stands in the picture of the viewer, s since the first chunk.
CURSOR_S = 0.6


def draw_change_of_mind(bag: Bag, run: Run) -> None:
    """Draw ``foresight.png``: the last chunks of the first instruction, and the first ones of the second."""
    predictor, note = find_predictor(bag, run, None)
    if predictor is None:
        raise SystemExit(note)
    change = next(i for i, c in enumerate(run.chunks) if c.instruction_id != run.chunks[0].instruction_id)
    chosen = [run.chunks[i] for i in sorted({0, change - 1, change, min(change + 3, len(run.chunks) - 1)})]
    seen = frames(bag, run, predictor, chosen, budget_s=60.0)
    figure, axes = plt.subplots(1, len(seen), figsize=(12, 2.9), layout="constrained")
    told = {c.chunk_id: c.instruction for c in run.chunks}
    for axis, frame in zip(axes, seen, strict=True):
        draw_frame(axis, frame)
        axis.set_title(f'{float(run.seconds(frame.stamp_ns)):.1f} s: "{told[frame.chunk_id]}"', fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9, frameon=False)
    figure.savefig(IMAGES / "foresight.png", dpi=100)
    plt.close(figure)


def draw_viewer(console: Console, bag: Bag) -> None:
    """Make ``viewer.png``: open the bag in rerun without a window, and let it take a picture of itself."""
    from rerun.experimental import ViewerClient

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.rrd"
        with open_output(file, None) as stream:
            log_bag(console, bag, stream, None, 60.0)
        command = [*window_command(PORT), "--headless", "--window-size", SIZE, str(file)]
        viewer = subprocess.Popen(command, env=quiet_environment(), stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            time.sleep(LOADING_S)
            client = ViewerClient(f"rerun+http://127.0.0.1:{PORT}/proxy")
            client.set_time("run", duration=CURSOR_S, play_state="paused")
            time.sleep(LOADING_S)
            client.save_screenshot(str(IMAGES / "viewer.png"))
            time.sleep(1.0)
        finally:
            os.killpg(viewer.pid, signal.SIGTERM)
            viewer.wait(30.0)


def main() -> None:
    """Draw everything."""
    console, bag = Console(), Bag(sys.argv[1])
    draw_bag(console, bag, IMAGES / "run.png", None, foresight=True)
    draw_change_of_mind(bag, summarize(bag))
    draw_viewer(console, bag)


if __name__ == "__main__":
    main()
