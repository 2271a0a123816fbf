# SPDX-License-Identifier: Apache-2.0
"""What all processes that compute chunks have in common: the question, the answer, and what is timed.

A line "N" on the standard input is answered by a line of JSON: a chunk for N cameras from ``inputs_N.safetensors``, the
seconds it took, and this process's memory. numpy is all that is imported here: a runtime without torch stays without.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Arrays = dict[str, NDArray[Any]]
# Takes an inputs file's arrays, and gives what computes the chunk [H, A]; only the latter is timed.
Prepare = Callable[[Arrays], Callable[[], NDArray[np.float32]]]


def command_line(description: str | None, precisions: Sequence[str]) -> argparse.ArgumentParser:
    """The arguments that all have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where chunk_latency.py --folder put weights and inputs")
    parser.add_argument("precision", choices=precisions)
    parser.add_argument("threads", type=int, help="processor threads")
    parser.add_argument("device", nargs="?", default="cpu", choices=["cpu", "cuda"])
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the arguments; from here on the standard output has answers alone, whatever libraries print."""
    arguments = parser.parse_args()
    sys.stdout = sys.stderr
    return arguments


def memory_mb() -> dict[str, float]:
    """Memory of this process: its peak, and what it holds now that no file holds, too, and nobody can drop."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    kilobytes = {x.split(":")[0]: int(x.split()[1]) for x in lines if x.endswith("kB")}
    # Not getrusage, whose peak begins with that of the process that started this one.
    return {"peak_mb": kilobytes["VmHWM"] / 1024, "anonymous_mb": kilobytes["RssAnon"] / 1024}


def answer(
    folder: Path, prepare: Prepare, about: dict[str, Any], device_peak_mb: Callable[[], float] = lambda: 0.0
) -> None:
    """Say that the model is loaded, and ``about`` it; then answer until the input ends."""
    print(json.dumps(about), file=sys.__stdout__, flush=True)
    for line in sys.stdin:
        compute = prepare(load_file(folder / f"inputs_{int(line)}.safetensors"))
        begin = time.perf_counter()
        chunk = compute()
        figures = {"seconds": time.perf_counter() - begin, **memory_mb(), "device_peak_mb": device_peak_mb()}
        print(json.dumps({**figures, "chunk": chunk.tolist()}), file=sys.__stdout__, flush=True)
