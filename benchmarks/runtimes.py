# SPDX-License-Identifier: Apache-2.0
"""How long a chunk takes with every runtime that can run a folder here, all taking turns in one process.

``python benchmarks/runtimes.py [FOLDER …] [--threads N] [--repeat N]``

Other load meets all of them. Without folders: the shipped policy. A folder of ``swiftvla export`` may stand beside the
checkpoint that it came from; chunks are compared with the first runtime's of the first folder.
"""

import argparse
import gc
import os
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from swiftvla_ros.cli.output import write_json
from swiftvla_ros.contract import load_contract
from swiftvla_ros.observation.observation import Observation
from swiftvla_ros.policy import CheckpointError, load_policy
from swiftvla_ros.resources import model_path
from swiftvla_ros.runtime_registry import RUNTIMES


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("models/swiftvla-nano-so101")])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeat", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    policies = {}
    for folder in options.folders:
        where = model_path(folder)
        contract = load_contract(where / "contract.yaml")
        for name in ("torch", *(name for name in RUNTIMES if name != "torch")):
            try:
                policies[f"{folder.name} · {name}"] = load_policy(
                    where, contract=contract, runtime=name, device="cpu", threads=options.threads
                )
            except CheckpointError as error:  # noqa: PERF203  (a handful of runtimes)
                print(f"left out: {error}")
    rng = np.random.default_rng(0)
    sizes = {camera.name: camera.size for camera in contract.cameras}
    images = {name: rng.integers(0, 255, (h, w, 3), dtype=np.uint8) for name, (w, h) in sizes.items()}
    observation = Observation(images, contract.rest, "pick up the red block")
    chunks = {key: policy.infer(observation) for key, policy in policies.items()}
    seconds: dict[str, list[float]] = {key: [] for key in policies}
    gc.disable()
    for _ in range(options.repeat):
        for key, policy in policies.items():
            begin = time.perf_counter()
            policy.infer(observation)
            seconds[key].append(time.perf_counter() - begin)
    first = next(iter(policies))
    table = Table("folder · runtime", "precision", "median ms", "best ms", "times as fast", "differs by, mrad")
    rows = {}
    for key, policy in policies.items():
        median, best = np.median(seconds[key]), min(seconds[key])
        faster = np.median(seconds[first]) / median
        apart = 1e3 * np.abs(chunks[key] - chunks[first]).max()
        figures = (policy.precision, f"{1e3 * median:.1f}", f"{1e3 * best:.1f}", f"{faster:.2f}", f"{apart:.4f}")
        table.add_row(key, *figures)
        rows[key] = {"median_s": median, "best_s": best, "times_as_fast": faster, "apart_mrad": apart}
    Console(width=120).print(table)
    print(f"{options.threads} threads, load average {os.getloadavg()[0]:.1f}")
    write_json(options.json, {"threads": options.threads, "load_average": os.getloadavg()[0], "rows": rows})


if __name__ == "__main__":
    main()
