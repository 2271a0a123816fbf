# SPDX-License-Identifier: Apache-2.0
"""What learning with a geometry transformer brings a policy that runs without it: the paper's tables 5, 6 and 7, small.

``python benchmarks/ablation/run.py --episodes-dir EPISODES --targets TARGETS --geometry GEOMETRY --init STAGE1``. Every
row is a stage-2 training from the same stage-1 checkpoint, rolled out in the same scenes of the stands task, by images
alone and with live 4D features. The JSON file is written after every measurement; started again, what it holds is kept.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from swiftvla_ros.cli.sharing import make_runner
from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.errors import UserError
from swiftvla_ros.policy.checkpoint import open_checkpoint
from swiftvla_ros.sim.evaluation.rollout import Conditions, Evaluation, EvaluationReport, Geometry, evaluate
from swiftvla_ros.sim.evaluation.statistics import wilson

FORMAT = "swiftvla_ros/ablation/1"
INPUTS = {"2d": "2D only", "4d": "with 4D"}
"""What a policy is given when it is rolled out."""


@dataclass(frozen=True)
class Row:
    """One way to train.

    Attributes
    ----------
    name, title
        What it is called on the command line, and in the table.
    options
        Of ``swiftvla train --stage 2``; None: without 4D targets.
    live_cache_steps
        K of the live 4D features that it is rolled out with: the longest that it was trained with.
    paper
        Success in the paper, by input.
    """

    name: str
    title: str
    options: tuple[str, ...] | None
    live_cache_steps: int
    paper: dict[str, float]

    @property
    def inputs(self) -> tuple[str, ...]:
        """What it is rolled out with."""
        return ("2d",) if self.options is None else ("2d", "4d")


_BOTH = ("--mask-4d", "0.5", "--mask-2d", "0.2")
_RANDOM = ("--cache-steps", "3,4,5,6")
ROWS = (
    Row("2d", "2D only", None, 6, {"2d": 0.36}),
    Row(
        "no-mask",
        "4D, no mask",
        ("--mask-4d", "0", "--mask-2d", "0", "--no-reconstruct", *_RANDOM),
        6,
        {"2d": 0.02, "4d": 0.50},
    ),
    Row(
        "mask-4d",
        "4D mask",
        ("--mask-4d", "0.5", "--mask-2d", "0", "--no-reconstruct", *_RANDOM),
        6,
        {"2d": 0.40, "4d": 0.48},
    ),
    Row("both-masks", "both masks", (*_BOTH, "--no-reconstruct", *_RANDOM), 6, {"2d": 0.50, "4d": 0.52}),
    Row("reconstruct", "both masks, reconstruction", (*_BOTH, "--reconstruct", *_RANDOM), 6, {"2d": 0.53, "4d": 0.55}),
    Row("k3", "the same, K = 3", (*_BOTH, "--reconstruct", "--cache-steps", "3"), 3, {"2d": 0.47, "4d": 0.49}),
    Row("k6", "the same, K = 6", (*_BOTH, "--reconstruct", "--cache-steps", "6"), 6, {"2d": 0.52, "4d": 0.55}),
)


class AblationError(ValueError):
    """A run that can't go on; the message says why."""


class Results:
    """The JSON file: what all rows have in common, and one entry per row and seed.

    Raises
    ------
    AblationError
        The file holds results of other settings.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self._content: dict[str, Any] = {"format": FORMAT, "settings": settings, "runs": []}
        if path.exists():
            self._content = json.loads(path.read_text(encoding="utf-8"))
            before = self._content.get("settings", {})
            for key in sorted(settings.keys() | before.keys()):
                if settings.get(key) != before.get(key):
                    raise AblationError(
                        f"{path}: was measured with {key} = {before.get(key)}, now it is {settings.get(key)}; rows can "
                        "only be compared under the same settings: give the same, or another --json"
                    )

    @property
    def runs(self) -> list[dict[str, Any]]:
        """All entries."""
        return self._content["runs"]

    def entry(self, row: Row, seed: int) -> dict[str, Any]:
        """The entry of a row and seed; a new one where there is none."""
        for run in self.runs:
            if (run["row"], run["seed"]) == (row.name, seed):
                return run
        run = {
            "row": row.name,
            "title": row.title,
            "seed": seed,
            "options": None if row.options is None else list(row.options),
            "live_cache_steps": row.live_cache_steps,
            "paper": row.paper,
            "training": None,
            "results": {},
        }
        self.runs.append(run)
        return run

    def save(self) -> None:
        """Write the file; a kill leaves the old one or the new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".draft")
        draft.write_text(json.dumps(self._content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        draft.replace(self.path)


class Ablation:
    """Trains and measures rows as the command line says."""

    def __init__(self, options: argparse.Namespace, contract: Contract, results: Results) -> None:
        self._options, self._contract, self._results = options, contract, results

    def run(self, rows: Iterable[Row], seeds: Iterable[int]) -> None:
        """Do what the results lack."""
        for seed in seeds:
            for row in rows:
                entry = self._results.entry(row, seed)
                folder = self._options.out / f"{row.name}-seed{seed}"
                missing = [name for name in row.inputs if name not in entry["results"]]
                if missing and entry["training"] is None:
                    entry["training"] = self.train(row, seed, folder)
                    self._results.save()
                for name in missing:
                    report = self.measure(row, name, folder)
                    entry["results"][name] = summary(report)
                    self._results.save()
                    print(f"{row.title}, seed {seed}, {INPUTS[name]}: {report.done['all']}", flush=True)

    def train(self, row: Row, seed: int, folder: Path) -> dict[str, Any]:
        """Train a row (in a process of its own, which goes on where an earlier one was killed); returns its figures."""
        given, figures = self._options, folder / "figures.json"
        command = [
            *(sys.executable, "-m", "swiftvla_ros.cli.main", "train", str(given.episodes_dir), str(folder)),
            *("--stage", "2", "--init", str(given.init), "--robot", given.robot, "--seed", str(seed)),
            *("--steps", str(given.steps), "--batch", str(given.batch), "--noise-samples", str(given.noise_samples)),
            *("--warmup-steps", str(given.warmup_steps), "--validate-every", str(given.steps)),
            *("--mask-2d-ramp-steps", str(given.mask_2d_ramp_steps), "--processes", str(given.workers)),
            *("--device", given.device, "--json", str(figures)),
        ]
        if given.learning_rate is not None:
            command += ["--learning-rate", str(given.learning_rate)]
        if given.scenes_dir is None:
            command += ["--scenes", "0", "--scene-share", "0"]
        else:
            command += ["--scenes-dir", str(given.scenes_dir), "--scenes", str(given.scenes)]
        if row.options is not None:
            command += ["--teacher-targets", str(given.targets), *row.options]
        print(f"{row.title}, seed {seed}: {given.steps} steps", flush=True)
        begin = time.monotonic()
        code = subprocess.run(command, check=False).returncode
        if code != 0:
            raise AblationError(f"row {row.name}: training ended with exit code {code}; see its lines above")
        told = json.loads(figures.read_text(encoding="utf-8"))
        kept = ("step", "parameters", "losses", "validation")
        return {"seconds": time.monotonic() - begin} | {key: told[key] for key in kept if key in told}

    def measure(self, row: Row, given: str, folder: Path) -> EvaluationReport:
        """Roll a row's checkpoint out, from images alone or with live 4D features."""
        options = self._options
        # A fixed latency and period: neither the machine's load nor the cost of 4D features shall decide a row.
        conditions = Conditions(
            latency_s=options.latency,
            period_s=self._contract.policy.step_s,
            timeout_s=options.timeout,
            scene="table" if options.flat else "stands",
        )
        evaluation = Evaluation(
            folder,
            self._contract.path,
            options.scene_seed,
            conditions,
            Geometry(options.geometry, row.live_cache_steps) if given == "4d" else None,
            device=options.device,
            # Where they are shared out, it is by files.
            out=None if options.cluster is None else folder / f"rollouts-{given}",
        )
        gpus = options.device.startswith("cuda")
        runner = make_runner(options.workers, "1/1", options.cluster, evaluation.out, gpus=gpus)
        report = evaluate(evaluation, options.episodes, runner)
        if report.problem:
            raise AblationError(f"row {row.name}: {report.problem}")
        return report


def summary(report: EvaluationReport) -> dict[str, Any]:
    """What is kept of an evaluation: shares, and each scene's verdict, so that rows can be compared scene by scene."""
    return {
        "done": {name: asdict(report.done[name]) for name in ("all", "pick", "touch")},
        "wrong_block": asdict(report.wrong_block["all"]),
        "first_step_right": asdict(report.first_step_right),
        "verdicts": [episode.verdict for episode in report.episodes],
        "mean_seconds": report.mean_seconds if report.done["all"].count else None,
        "wall_seconds": report.wall_seconds,
    }


def table(runs: list[dict[str, Any]]) -> Table:
    """All rows, seeds pooled, beside the paper's."""
    shown = Table(
        *("training", "2D only", "95 %", "paper", "with 4D", "95 %", "paper", "seeds"), box=SIMPLE, title="task done"
    )
    for row in ROWS:
        entries = [run for run in runs if run["row"] == row.name and run["results"]]
        if not entries:
            continue
        cells = [row.title]
        for name in INPUTS:
            shares = [run["results"][name]["done"]["all"] for run in entries if name in run["results"]]
            pooled = wilson(sum(s["count"] for s in shares), sum(s["total"] for s in shares))
            measured = [f"{pooled.share:.2f}", f"{pooled.low:.2f}…{pooled.high:.2f}"] if shares else ["", ""]
            cells += [*measured, f"{row.paper[name]:.2f}" if name in row.paper else ""]
        shown.add_row(*cells, str(len(entries)))
    return shown


def parser() -> argparse.ArgumentParser:
    """The command line."""
    names = ",".join(row.name for row in ROWS)
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--episodes-dir", type=Path, required=True, help="of `swiftvla collect --scene stands`")
    p.add_argument("--targets", type=Path, required=True, help="of `swiftvla teacher-targets`, for these episodes")
    p.add_argument("--geometry", type=Path, required=True, help="the geometry checkpoint that the targets are from")
    p.add_argument("--init", type=Path, required=True, help="stage 1's checkpoint, from which every row starts")
    p.add_argument("--out", type=Path, default=Path("runs/ablation"), help="folder for the checkpoints")
    p.add_argument("--json", type=Path, default=Path("docs/ablation.json"), help="the results, written as they come")
    p.add_argument("--rows", default=names, help="which, with commas between them")
    p.add_argument("--seeds", default="0", help="of the trainings, with commas between them")
    p.add_argument("--steps", type=int, default=400, help="optimiser steps of a row")
    p.add_argument("--batch", type=int, default=48, help="samples a step")
    p.add_argument("--noise-samples", type=int, default=4, help="noisy chunks per observation")
    p.add_argument("--warmup-steps", type=int, default=40, help="steps until the peak learning rate")
    p.add_argument("--learning-rate", type=float, default=None, help="peak; None: stage 2's own")
    p.add_argument("--mask-2d-ramp-steps", type=int, default=100, help="steps until images are masked as often as said")
    p.add_argument("--scenes-dir", type=Path, default=None, help="still scenes mixed into the batches; None: none")
    p.add_argument("--scenes", type=int, default=5000, help="how many of them")
    p.add_argument("--episodes", type=int, default=100, help="rollouts of each measurement")
    p.add_argument("--scene-seed", type=int, default=20_000, help="seed of the first rollout's scene")
    p.add_argument("--timeout", type=float, default=8.0, help="simulated seconds that the arm has for a task")
    # More than a policy step, so that there is an inference every second step: they are what rollouts cost.
    p.add_argument("--latency", type=float, default=0.12, help="simulated seconds from an observation to its chunk")
    p.add_argument("--flat", action="store_true", help="roll out on the flat table instead of the stands task")
    p.add_argument("--robot", default="so101_sim", help="the simulated robot's contract")
    p.add_argument("--workers", type=int, default=2, help="processes, for training and rollouts")
    p.add_argument("--cluster", default=None, help="a Ray cluster for the rollouts: auto, or host:port of its head")
    p.add_argument("--device", default="cpu", help="cpu or cuda")
    return p


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """What all rows have in common; folders by what they hold, as their places mean nothing elsewhere."""
    keys = (
        *("steps", "batch", "noise_samples", "warmup_steps", "learning_rate", "mask_2d_ramp_steps"),
        *("episodes", "scene_seed", "timeout", "latency", "flat"),
    )
    targets = json.loads((options.targets / "config.json").read_text(encoding="utf-8"))
    return {key: getattr(options, key) for key in keys} | {
        "scenes": options.scenes if options.scenes_dir else 0,
        "init_sha256": open_checkpoint(options.init).sha256,
        "geometry_sha256": targets.get("geometry_sha256"),
        "demonstrations": len(list(options.episodes_dir.glob("episode_*.safetensors"))),
    }


def main() -> None:
    """Run what is missing, and print the table."""
    options = parser().parse_args()
    chosen, known = options.rows.split(","), {row.name: row for row in ROWS}
    if unknown := [name for name in chosen if name not in known]:
        sys.exit(f"--rows: {unknown} are none of {list(known)}")
    try:
        results = Results(options.json, settings(options))
        ablation = Ablation(options, load_contract(options.robot), results)
        ablation.run([known[name] for name in chosen], [int(seed) for seed in options.seeds.split(",")])
    except (AblationError, UserError, OSError) as error:
        sys.exit(str(error))
    Console(highlight=False, width=100).print(table(results.runs))


if __name__ == "__main__":
    main()
