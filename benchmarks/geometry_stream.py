# SPDX-License-Identifier: Apache-2.0
"""What a step of the geometry transformer's stream costs, early and late: it must not grow.

``python benchmarks/geometry_stream.py [--preset geometry-nano] [--views 2] [--window 6] [--steps 500] [--threads 2]
[--device cpu] [--json FILE]``. Weights are random: they change no cost. Processor time is measured beside wall time,
which also holds what other programs take from this one.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from swiftvla_ros.cli.output import write_json
from swiftvla_ros.geometry import PRESETS, GeometryTransformer

# A row of the table is the median over this many steps up to it.
_AROUND = 10


def resident_mb() -> float:
    """Memory of this process now, MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


@torch.no_grad()
def measure(net: GeometryTransformer, views: int, window: int, steps: int, device: str) -> list[dict[str, float]]:
    """Stream random images; a row per reported step."""
    images = torch.rand(1, views, 3, *net.config.image_size, device=device)
    cache = net.start(1, window)
    wall, own, rows = [], [], []
    for step in range(1, steps + 1):
        begin, begin_own = time.perf_counter(), time.process_time()
        _, cache = net.step(images, cache)
        if device != "cpu":
            torch.cuda.synchronize()
        wall.append(time.perf_counter() - begin)
        own.append(time.process_time() - begin_own)
        if step in {10, 100, steps}:
            rows.append(
                {
                    "step": step,
                    "wall_ms": float(1e3 * np.median(wall[-_AROUND:])),
                    "cpu_ms": float(1e3 * np.median(own[-_AROUND:])),
                    "fastest_ms": float(1e3 * np.min(wall[-_AROUND:])),
                    "cache_mb": cache.nbytes / 1e6,
                    "memory_mb": resident_mb() if device == "cpu" else torch.cuda.memory_allocated() / 1e6,
                }
            )
    return rows


@torch.no_grad()
def gmac_per_frame(net: GeometryTransformer, views: int, window: int, device: str) -> float:
    """Multiply-adds of products and convolutions for one frame, in 10⁹."""
    images = torch.rand(1, views, 3, *net.config.image_size, device=device)
    cache = net.start(1, window)
    # The counter knows plain products, and not the fused attention of CPUs.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net.step(images, cache)
    return float(counter.get_total_flops()) / 2 / views / 1e9


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=sorted(PRESETS), default="geometry-nano")
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--window", type=int, default=6)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    net = GeometryTransformer(PRESETS[args.preset]()).to(args.device).eval()
    gmac = gmac_per_frame(net, args.views, args.window, args.device)
    rows = measure(net, args.views, args.window, args.steps, args.device)
    table = Table(
        title=f"{args.preset}, {args.views} views, K = {args.window}, {args.threads} threads: {gmac:.3f} GMAC a frame"
    )
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(f"{value:.1f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console().print(table)
    write_json(args.json, {**vars(args), "json": None, "gmac_per_frame": gmac, "rows": rows})


if __name__ == "__main__":
    main()
