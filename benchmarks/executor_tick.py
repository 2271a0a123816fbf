# SPDX-License-Identifier: Apache-2.0
"""What a tick of the chunk executor costs: wall and processor time, in easy and in hard company.

``python benchmarks/executor_tick.py [--seconds 20] [--rate 100] [--json FILE]``. Wall time holds what other processes
take from this one; processor time is the executor's own.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from swiftvla_ros.cli.output import write_json
from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.motion import ChunkExecutor, ExecutorConfig, JointChunk

NS = 1_000_000_000
Array = NDArray[np.float64]


def smooth(t: Array, rest: Array, _: np.random.Generator) -> Array:
    """A motion inside the limits."""
    return rest + 0.2 * (1 - np.cos(t[:, None] * np.linspace(1.5, 3.0, len(rest)))) * -np.sign(rest + 1e-9)


def noisy(t: Array, rest: Array, rng: np.random.Generator) -> Array:
    """The same with 10 mrad of noise on every row."""
    return smooth(t, rest, rng) + 0.01 * rng.standard_normal((len(t), len(rest)))


def hostile(t: Array, rest: Array, rng: np.random.Generator) -> Array:
    """Rows that jump by half a radian: every joint is off the reference all the time."""
    return rest + 0.5 * rng.standard_normal((len(t), len(rest)))


def measure(plan: Callable[..., Array], contract: Contract, rate_hz: float, seconds: float) -> dict[str, float]:
    """Costs in µs of the ticks of one run, and of taking in its chunks (one each 0.1 s, 0.1 s late)."""
    config = ExecutorConfig(rate_hz=rate_hz)
    executor = ChunkExecutor(contract.limits, contract.joint_names, config)
    rng = np.random.default_rng(0)
    step_ns, tick_ns = round(0.1 * NS), round(NS / rate_hz)
    executor.seed(contract.rest, NS)
    wall, processor, offers = [], [], []
    waiting: list[JointChunk] = []
    for k in range(round(seconds * rate_hz)):
        now_ns = NS + k * tick_ns
        if k * tick_ns % step_ns < tick_ns:
            rows = plan((now_ns - NS + np.arange(10) * step_ns) / NS, contract.rest, rng)
            waiting.append(JointChunk(now_ns, step_ns, rows, k))
            if len(waiting) == 2:
                begin = time.thread_time_ns()
                executor.offer(waiting.pop(0), now_ns)
                offers.append(time.thread_time_ns() - begin)
        begin, begin_own = time.perf_counter_ns(), time.thread_time_ns()
        executor.tick(now_ns)
        processor.append(time.thread_time_ns() - begin_own)
        wall.append(time.perf_counter_ns() - begin)
        executor.measured(contract.rest, now_ns)
    share = (np.sum(processor) + np.sum(offers)) / NS / seconds
    return {
        "ticks": len(wall),
        "cpu_p50_us": float(np.percentile(processor, 50) / 1e3),
        "cpu_p99_us": float(np.percentile(processor, 99) / 1e3),
        "cpu_max_us": float(np.max(processor) / 1e3),
        "wall_p50_us": float(np.percentile(wall, 50) / 1e3),
        "wall_p99_us": float(np.percentile(wall, 99) / 1e3),
        "offer_p50_us": float(np.percentile(offers, 50) / 1e3),
        "core_percent": float(100 * share),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Measure, print a table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--robot", default="so101_sim")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each run, in the robot's time")
    parser.add_argument("--rate", type=float, default=100.0, help="ticks per second")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    contract = load_contract(arguments.robot)
    measure(smooth, contract, arguments.rate, 1.0)
    results = {p.__name__: measure(p, contract, arguments.rate, arguments.seconds) for p in (smooth, noisy, hostile)}
    table = Table(title=f"executor tick, {len(contract.joints)} joints at {arguments.rate:g} Hz")
    table.add_column("chunks")
    for name in results["smooth"]:
        table.add_column(name.replace("_", " "), justify="right")
    for name, result in results.items():
        table.add_row(name, *(f"{value:.4g}" for value in result.values()))
    Console(width=140).print(table)
    write_json(arguments.json, results)


if __name__ == "__main__":
    main()
