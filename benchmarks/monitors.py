# SPDX-License-Identifier: Apache-2.0
"""What the monitors notice, how often for nothing, and whether they foretell failure.

python benchmarks/monitors.py record runs/monitors              # episodes by kind; goes on where it was left
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from _monitor_runs import run_episode, save
from _monitor_worlds import KINDS, ShiftedWorld
from swiftvla_ros.contract import load_contract
from swiftvla_ros.policy import load_policy
from swiftvla_ros.resources import model_path

# Scenes that neither training, nor the envelope's demonstrations, nor its calibration has.
_SEED = 60_000
_NOMINAL, _VISIBLE, _INVISIBLE = 100, 24, 16


def wanted() -> list[tuple[str, int]]:
    """Kind and seed of every episode, so that the kinds are even wherever it stops."""
    counts = {
        name: _NOMINAL if name == "nominal" else _VISIBLE if kind.visible else _INVISIBLE
        for name, kind in KINDS.items()
    }
    ordered = [(i / count, name, _SEED + i) for name, count in counts.items() for i in range(count)]
    return [(name, seed) for _, name, seed in sorted(ordered)]


def record(folder: Path, checkpoint: Path, seconds: float) -> None:
    """Run the episodes that are missing."""
    contract = load_contract("so101_sim")
    policy = load_policy(checkpoint, contract=contract, threads=1)
    statistics = json.loads((checkpoint / "stats.json").read_text())["state"]
    low, high = (np.array([statistics[joint][key] for joint in contract.joint_names]) for key in ("q01", "q99"))
    folder.mkdir(parents=True, exist_ok=True)
    worlds: dict[str, ShiftedWorld] = {}
    began = time.monotonic()
    for kind, seed in wanted():
        path = folder / f"{kind.replace(' ', '_')}_{seed}.npz"
        if path.exists():
            continue
        if time.monotonic() - began > seconds:
            print("stopped; the same command goes on")
            return
        scene = KINDS[kind].scene
        if scene.name not in worlds:
            worlds[scene.name] = ShiftedWorld(contract, seed, scene)
        save(run_episode(policy, worlds[scene.name], kind, seed, (low, high)), path)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record",))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("models/swiftvla-nano-so101"))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    options = parser.parse_args()
    record(options.folder, model_path(options.checkpoint), options.seconds)


if __name__ == "__main__":
    main()
