# SPDX-License-Identifier: Apache-2.0
"""The whole circle: demonstrations through the ROS graph, bags, 4D targets, training, the trained policy on the arm.

    python benchmarks/whole_circle.py --small                  # some minutes on two cores: every step, little learned
    python benchmarks/whole_circle.py --episodes 300 --steps 4000 --eval 30 --out runs/circle     # some hours

Each step is a command of docs/data.md, run as a user runs it. Prints what each took, the held-out loss at the first and
at the last validation of each stage, and what the evaluation says. Exit code 1 if a step failed, if fewer than three
quarters of the demonstrations succeeded, or if the first stage did not lower the held-out loss.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from swiftvla_ros.cli.output import write_json

_SWIFTVLA = [sys.executable, "-m", "swiftvla_ros.cli.main"]
_MIN_SUCCESS = 0.75


def main() -> int:
    """Run the steps; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="6 demonstrations, 40 steps, one episode at the end")
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--eval", type=int, default=30, help="episodes of the evaluation over ROS")
    parser.add_argument("--out", type=Path, help="default: a temporary folder")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.small:
        options.episodes, options.steps, options.eval = 6, 40, 1
    with tempfile.TemporaryDirectory(prefix="whole_circle_") as temporary:
        return _circle(options, options.out or Path(temporary))


def _circle(options: argparse.Namespace, out: Path) -> int:
    bags, targets, first, second = (out / name for name in ("bags", "targets", "stage1", "stage2"))
    collected, evaluated = out / "collect.json", out / "eval.json"
    figures: dict[str, object] = {"episodes": options.episodes, "steps": options.steps}
    often = max(1, options.steps // 8)
    learn = ["--scenes", 0, "--batch", 16, "--warmup-steps", often, "--validate-every", often]
    _step(figures, "demonstrations to bags", ["collect", bags, "--ros", "--episodes", options.episodes,
                                              "--json", collected])  # fmt: skip
    _step(figures, "bags to 4D targets", ["teacher-targets", bags, targets, "--cache-steps", "3,4"])
    _step(figures, "bags to a LeRobotDataset", ["export-lerobot", bags, out / "lerobot"])
    _step(figures, "training, stage 1", ["train", bags, first, "--steps", options.steps, *learn])
    _step(figures, "training, stage 2", ["train", bags, second, "--init", first, "--stage", 2,
                                         "--teacher-targets", targets, "--cache-steps", "3,4",
                                         "--steps", options.steps // 2, *learn])  # fmt: skip
    # What has learned little fails, which is no failure of this script.
    _step(figures, "evaluation over ROS", ["eval", second, "--ros", "--episodes", options.eval, "--json", evaluated],
          may_fail=True)  # fmt: skip
    demonstrations = json.loads(collected.read_text())
    figures |= {"demonstrations": demonstrations, "evaluation": json.loads(evaluated.read_text())}
    print(f"\ndemonstrations that succeeded: {demonstrations['succeeded']} of {options.episodes}")
    falls = True
    for stage in (first, second):
        found = _held_out(stage)
        figures[f"held-out loss, {stage.name}"] = found
        (begin, before), (end, after) = found[0], found[-1]
        print(f"{stage.name}: held-out action loss {before:.4f} after {begin} steps, {after:.4f} after {end}")
        falls &= after < before or stage is second
    write_json(options.json, figures)
    return 0 if falls and demonstrations["succeeded"] >= _MIN_SUCCESS * options.episodes else 1


def _held_out(checkpoint: Path) -> list[tuple[int, float]]:
    """Return (steps, action loss on held-out episodes) of each validation."""
    lines = [json.loads(line) for line in (checkpoint / "training" / "losses.jsonl").read_text().splitlines()]
    return [(line["step"], line["validation"]["losses"]["action"]) for line in lines if line["validation"]]


def _step(figures: dict[str, object], name: str, arguments: Sequence[object], *, may_fail: bool = False) -> None:
    command = [str(a) for a in arguments]
    print(f"\n== {name}: swiftvla {' '.join(command)}", flush=True)
    began = time.monotonic()
    done = subprocess.run([*_SWIFTVLA, *command], check=False)
    seconds = figures[name] = time.monotonic() - began
    print(f"== {name}: {seconds:.0f} s", flush=True)
    if done.returncode and not may_fail:
        raise SystemExit(f"{name} failed with exit code {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
