# SPDX-License-Identifier: Apache-2.0
"""How long one chunk of a 450M network takes on this machine's CPU: each runtime of ours, lerobot's SmolVLA, and π0.

Draws random weights as a lerobot checkpoint, imports them (``swiftvla import-smolvla``'s code), exports them
(``swiftvla export``'s), and lets all compute the same chunks in turn, each in a process of its own, so that other load
meets all of them; medians. Only ratios within one run mean anything, and only on a machine that does little else.

First steps:

  every runtime of ours, two cameras:   python benchmarks/chunk_latency.py --cameras 2 --folder runs/450m
  one beside lerobot:                   ... --peer-python PYTHON --rows "openvino float32" "lerobot float32"
  the README's table:                   ... --peer-python PYTHON --markdown

PYTHON is an interpreter with lerobot 0.4.4 and transformers 4.57; without it only our figures are printed.

Columns: "beside lerobot" is lerobot's time at the same precision divided by the row's; 8 bits are compared with its
best. "of the floor" is the chunk's arithmetic at the speed of torch's best matrix product of the tower's largest layer,
measured between the chunks, divided by the row's time. "peak MB" is the largest resident size since the process began,
"anonymous" what lay in no file after the last chunk. "difference" is the largest one to torch in float32, in units of
the network's rows. A row whose first chunk takes more than 20 s has fewer turns; "turns" says how many.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors import safe_open

from _chunk_networks import chunk_flops, write_checkpoints, write_graphs, write_inputs
from _gemm_speed import measure_gflops, multiplies_bfloat16, processor
from swiftvla_ros.cli.output import write_json
from swiftvla_ros.extras import missing_extra, need
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.policy.checkpoint import WEIGHTS

_PEERS = Path(__file__).parent / "peers"
_SLOW_S = 20.0
# lerobot computes in these, and torch's products are measured in them.
_COMPARED = ("float32", "bfloat16")


class Worker:
    """A process that computes chunks when it is told to."""

    def __init__(self, python: str, script: Path, *arguments: str) -> None:
        command = [python, str(script), *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = self._answer()

    def chunk(self, cameras: int) -> dict[str, Any]:
        """Compute one chunk: its seconds, peak_mb, anonymous_mb and values."""
        assert self._process.stdin is not None
        print(cameras, file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self._process.args} ended; its reason stands above")
        return dict(json.loads(line))


@dataclass(frozen=True)
class Row:
    """Something that computes chunks."""

    runtime: str
    precision: str
    graphs: str = ""  # kind of graphs that the runtime reads

    @property
    def name(self) -> str:
        """As options and tables call it."""
        return f"{self.runtime} {self.precision}"

    @property
    def network(self) -> str:
        """Whose network it is."""
        return {"lerobot": "SmolVLA", "π0": "π0"}.get(self.runtime, "SwiftVLA")

    def start(self, options: argparse.Namespace, folder: Path, cameras: int) -> Worker:
        """Start its process."""
        common = (str(folder), self.precision, str(options.threads))
        if self.network != "SwiftVLA":
            script = "pi0_lerobot.py" if self.runtime == "π0" else "smolvla_lerobot.py"
            return Worker(options.peer_python, _PEERS / script, *common)
        checkpoint = folder / self.precision
        if self.graphs:
            checkpoint = write_graphs(folder, cameras, self.graphs, self.precision)
        ours = ("--runtime", self.runtime, "--checkpoint", str(checkpoint))
        return Worker(sys.executable, _PEERS / "swiftvla_runtime.py", *common, *ours)


ROWS = (
    Row("torch", "float32"),
    Row("torch", "bfloat16"),
    Row("openvino", "float32", "openvino"),
    Row("openvino", "bfloat16", "openvino"),
    Row("openvino", "int8-vision", "openvino"),
    Row("openvino", "int8-weights", "openvino"),
    Row("onnxruntime", "float32", "onnx"),
    Row("lerobot", "float32"),
    Row("lerobot", "bfloat16"),
    Row("π0", "bfloat16"),
    Row("π0", "float32"),
)
# π0 in float32 takes 14 GB: only where it is asked for.
_DEFAULT = [row.name for row in ROWS[:-1]]


@dataclass(frozen=True)
class Comparison:
    """The chosen rows and what they share."""

    options: argparse.Namespace
    folder: Path
    config: SwiftVLAConfig

    def measure(self, cameras: int) -> list[dict[str, Any]]:
        """Figures of each row."""
        peers = bool(self.options.peer_python)
        chosen = [row for row in ROWS if row.name in self.options.rows and (peers or row.network == "SwiftVLA")]
        figures = self._take_turns([row for row in chosen if row.network != "π0"], cameras)
        for row in chosen:
            if row.network == "π0":
                # Its memory leaves no room for all others beside it.
                beside = [other for other in chosen if other.name == f"lerobot {row.precision}"]
                figures += self._take_turns([*beside, row], cameras)[len(beside) :]
        reference = next((figure["chunk"] for figure in figures if figure["row"] == "torch float32"), None)
        for figure in figures:
            chunk = figure.pop("chunk")
            if reference is not None and figure["network"] != "π0":
                figure["difference"] = float(np.abs(chunk - reference).max())
        return figures

    def _take_turns(self, rows: Sequence[Row], cameras: int) -> list[dict[str, Any]]:
        workers = {row: row.start(self.options, self.folder, cameras) for row in rows}
        first = {row: worker.chunk(cameras) for row, worker in workers.items()}
        last, seconds = dict(first), {row: [] for row in rows}
        gflops = dict.fromkeys(_COMPARED, 0.0)
        for turn in range(self.options.repeat):
            gflops = {precision: max(best, measure_gflops(precision)) for precision, best in gflops.items()}
            for row, worker in workers.items():
                if first[row]["seconds"] < _SLOW_S or turn < self.options.slow_repeat:
                    last[row] = worker.chunk(cameras)
                    seconds[row].append(last[row]["seconds"])
            print(f"{cameras} cameras, turn {turn + 1} of {self.options.repeat}", file=sys.stderr, flush=True)
        medians = {row.name: float(np.median(taken)) for row, taken in seconds.items()}
        ours = _parameters(self.folder / WEIGHTS)
        figures = []
        for row, worker in workers.items():
            median = medians[row.name]
            figure: dict[str, Any] = {
                "row": row.name, "network": row.network, "cameras": cameras, "median_s": median,
                "best_s": min(seconds[row]), "turns": len(seconds[row]), "chunk": np.array(first[row]["chunk"]),
                "parameters": worker.about.get("parameters", ours),
                **{name: last[row][name] for name in ("peak_mb", "anonymous_mb")},
            }  # fmt: skip
            at = [row.precision] if row.precision in _COMPARED else _COMPARED
            if peers := [medians[f"lerobot {precision}"] for precision in at if f"lerobot {precision}" in medians]:
                figure["beside_lerobot"] = min(peers) / median
            if row.network != "π0" and row.precision in _COMPARED:
                figure["gemm_gflops"] = gflops[row.precision]
                figure["of_the_floor"] = chunk_flops(self.config, cameras) / gflops[row.precision] / 1e9 / median
            figures.append(figure)
            worker.close()
        return figures


def _parameters(weights: Path) -> int:
    with safe_open(weights, framework="numpy") as file:
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118 (no mapping)


def show(figures: list[dict[str, Any]]) -> None:
    """Print the table."""
    cells: dict[str, Callable[[Any], str]] = {
        "median_s": "{:.2f} s".format, "turns": str, "beside_lerobot": "{:.2f}×".format,
        "of_the_floor": "{:.0%}".format, "peak_mb": "{:.0f}".format, "anonymous_mb": "{:.0f}".format,
        "parameters": "{:,}".format, "difference": "{:.1e}".format,
    }  # fmt: skip
    names = {"beside_lerobot": "beside lerobot", "median_s": "median", "of_the_floor": "of the floor"}
    names |= {"peak_mb": "peak MB", "anonymous_mb": "anonymous"}
    table = Table("cameras", "", *(names.get(key, key) for key in cells), title=f"one chunk, medians, {processor()}")
    for figure in figures:
        shown = [write(figure[key]) if key in figure else "–" for key, write in cells.items()]
        table.add_row(str(figure["cameras"]), figure["row"], *shown)
    Console(width=140).print(table)
    if not multiplies_bfloat16():
        print("This processor has no bfloat16: rows at bfloat16 show memory, and how each library emulates it.")


# What the paper measured on a Jetson Orin (its table 4; power mode and precision are not said): seconds, MB.
_PAPER = {"π0": (2.966, 16236), "SmolVLA": (0.166, 1398), "SwiftVLA": (0.167, 1398)}


def markdown(figures: list[dict[str, Any]], threads: int) -> None:
    """Print the README's table."""
    print("| network | runs in | one chunk | peak memory | parameters | the paper's, on a Jetson Orin |")
    print("|---|---|---|---|---|---|")
    order = ["π0", "SmolVLA", "SwiftVLA"]
    for figure in sorted(figures, key=lambda figure: order.index(figure["network"])):
        runtime, precision = figure["row"].split()
        runtime = "lerobot 0.4.4" if figure["network"] != "SwiftVLA" else runtime
        seconds, megabytes = _PAPER[figure["network"]]
        print(
            f"| {figure['network']} | {runtime}, {precision} | {figure['median_s']:.2f} s | "
            f"{figure['peak_mb'] / 1000:.2f} GB | {figure['parameters'] / 1e9:.2f} G | "
            f"{seconds} s, {megabytes / 1000:.1f} GB |"
        )
    turns = sorted({figure["turns"] for figure in figures})
    cameras = " and ".join(str(count) for count in sorted({figure["cameras"] for figure in figures}))
    print(
        f"\nRandom weights, cameras: {cameras}, {threads} threads of {processor()}; medians of "
        f"{' or '.join(map(str, turns))} chunks taken in turn. Beside them what the paper measured, at a precision and "
        "power mode that it does not say. lerobot's parameters include language heads, which no policy uses."
    )


def main() -> None:
    """Measure, print a table, and write the same figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="an interpreter that has lerobot 0.4.4")
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 2, 3])
    names = [row.name for row in ROWS]
    parser.add_argument(
        "--rows", nargs="+", default=_DEFAULT, choices=names, metavar="ROW", help=f"which of: {', '.join(names)}"
    )
    parser.add_argument("--repeat", type=int, default=9, help="turns, after a first chunk that does not count")
    parser.add_argument("--slow-repeat", type=int, default=3, help="turns of rows whose chunk takes over 20 s")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="keep weights and graphs here (25 GB), and use what is there")
    parser.add_argument("--markdown", action="store_true", help="print the README's table, too")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if any(row.graphs for row in ROWS if row.name in options.rows):
        try:
            need("onnx", "onnxscript", "onnxruntime", "openvino")
        except ModuleNotFoundError as error:
            parser.error(f"{missing_extra(error)}; or name --rows that need no graphs")
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        comparison = Comparison(options, folder, write_checkpoints(folder, list(_COMPARED)))
        write_inputs(folder, comparison.config, options.cameras)
        figures = [figure for cameras in options.cameras for figure in comparison.measure(cameras)]
    show(figures)
    if options.markdown:
        markdown(figures, options.threads)
    about = {"load_average": os.getloadavg()[0], "threads": options.threads, "processor": processor()}
    write_json(options.json, {**about, "rows": figures})


if __name__ == "__main__":
    main()
