# SPDX-License-Identifier: Apache-2.0
"""Does 4D in training alone help? The rows of docs/ablation.md, on equal terms.

    python benchmarks/ablation/oracle.py collect EPISODES TRUTH --episodes 2000
    ROBOT=benchmarks/ablation/so101_front.yaml
    swiftvla teacher-targets EPISODES TARGETS --geometry models/geometry-nano --robot $ROBOT
    python benchmarks/ablation/run.py RUNS --episodes-dir EPISODES --targets TARGETS --truth TRUTH --rows 2d,paper

Every row is one training from the same grounding checkpoint, rolled out in the same scenes, by images alone and, where
it has one, with its teacher live. What is there is kept. Started twice, or on several machines that see RUNS, each
takes rows that nobody is at.
"""

import argparse
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from _ablation_rows import INPUTS, ROWS, Row
from _ablation_tables import conflicts, gradients, table
from swiftvla_ros.cli.sharing import make_runner
from swiftvla_ros.cluster.settings import claim
from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.contract.hashing import files_sha256
from swiftvla_ros.contract.store import digest_of
from swiftvla_ros.episodes.teacher.stream import geometry_sha256
from swiftvla_ros.errors import UserError
from swiftvla_ros.files import whole_file
from swiftvla_ros.resources import model_path
from swiftvla_ros.sim.evaluation.rollout import Conditions, Evaluation, EvaluationReport, Geometry, evaluate
from swiftvla_ros.training.loop import LOSSES_FILE

FORMAT = "swiftvla_ros/ablation/2"
ROBOT = Path(__file__).with_name("so101_front.yaml")
LIVE_CACHE_STEPS = 6
"""K of live 4D features: the longest that a row is trained with."""


class AblationError(UserError):
    """A run that can't go on; the message says why."""


class Results:
    """A folder: what all rows have in common, and of each row and seed a folder with its result.

    Raises
    ------
    SettingsError
        The folder holds results of other settings.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        claim(folder / "settings.json", settings)

    def of(self, row: Row, seed: int) -> Path:
        """The folder of a row and seed."""
        return self.folder / f"{row.name}-seed{seed}"

    @contextmanager
    def taken(self, row: Row, seed: int) -> Iterator[dict[str, Any] | None]:
        """Hold a row and seed for oneself; gives what is known of it, or None where somebody else is at it."""
        folder = self.of(row, seed)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            # Whoever trains holds it, too, and goes on if this process is killed.
            os.set_inheritable(lock.fileno(), True)
            new = {"row": row.name, "title": row.title, "seed": seed, "teacher": row.teacher, "paper": row.paper}
            yield self.read(folder) or {**new, "options": list(row.options), "training": None, "results": {}}

    @staticmethod
    def read(folder: Path) -> dict[str, Any] | None:
        """What is known of a row and seed."""
        path = folder / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def save(self, row: Row, entry: dict[str, Any]) -> None:
        """Write what is known; a kill leaves the old file or the new one."""
        _write(self.of(row, entry["seed"]) / "result.json", entry)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """All entries, in the order of the rows."""
        order = {row.name: i for i, row in enumerate(ROWS)}
        entries = [self.read(path.parent) for path in self.folder.glob("*-seed*/result.json")]
        return sorted((e for e in entries if e), key=lambda e: (order[e["row"]], e["seed"]))


class Ablation:
    """Trains and measures rows as the command line says."""

    def __init__(self, options: argparse.Namespace, contract: Contract, results: Results) -> None:
        self._options, self._contract, self._results = options, contract, results

    def run(self, rows: Iterable[Row], seeds: Iterable[int]) -> None:
        """Do what the results lack and nobody else is at."""
        rows = list(rows)
        for seed in seeds:
            for row in rows:
                with self._results.taken(row, seed) as entry:
                    if entry is not None:
                        self._complete(row, seed, entry)

    def _complete(self, row: Row, seed: int, entry: dict[str, Any]) -> None:
        folder = self._results.of(row, seed)
        missing = [name for name in row.inputs if name not in entry["results"]]
        if missing and entry["training"] is None:
            entry["training"] = self.train(row, seed, folder / "checkpoint")
            self._results.save(row, entry)
        for name in missing:
            report = self.measure(row, name, seed, folder)
            entry["results"][name] = summary(report)
            self._results.save(row, entry)
            print(f"{row.title}, seed {seed}, {INPUTS[name]}: {report.done['all']}", flush=True)

    def train(self, row: Row, seed: int, folder: Path) -> dict[str, Any]:
        """Train a row (in a process of its own, which goes on where an earlier one was killed); returns its figures."""
        given = self._options
        steps = round(given.steps * row.steps)
        result = folder / "training" / "result.json"
        if not result.exists():
            command = [
                *(sys.executable, "-m", "swiftvla_ros.cli.main", "train", str(given.episodes_dir), str(folder)),
                *("--stage", "2", "--init", str(given.init), "--preset", "swiftvla-nano", "--robot", str(given.robot)),
                *("--freeze", "nothing", "--scenes", "0", "--no-envelope", "--seed", str(seed), "--steps", str(steps)),
                *("--learning-rate", str(given.learning_rate), "--batch", str(given.batch)),
                *("--noise-samples", str(given.noise_samples), "--log-gradients-every", str(given.log_gradients_every)),
                *("--processes", str(given.workers), "--device", given.device),
            ]
            if row.teacher is not None:
                targets = given.targets if row.teacher == "geometry" else given.truth
                command += ["--teacher-targets", str(targets), *row.options]
            print(f"{row.title}, seed {seed}: {steps} steps", flush=True)
            code = subprocess.run(command, check=False, close_fds=False).returncode
            if code != 0:
                raise AblationError(f"row {row.name}: training ended with exit code {code}; see its lines above")
        told = json.loads(result.read_text(encoding="utf-8"))
        lines = [json.loads(line) for line in (folder / "training" / LOSSES_FILE).read_text().splitlines()]
        # A step that was run again after a kill is there twice.
        log = list({line["step"]: line for line in lines}.values())
        kept = {key: told[key] for key in ("step", "seconds", "losses", "validation")}
        curve = [{"step": e["step"], **e["validation"]["losses"]} for e in log if e["validation"]]
        return kept | {"curve": curve, "gradients": conflicts([e["gradients"] for e in log if e.get("gradients")])}

    def measure(self, row: Row, given: str, seed: int, folder: Path) -> EvaluationReport:
        """Roll a row's checkpoint out, from images alone or with live 4D features, in the scenes of its seed."""
        options = self._options
        # A fixed latency and period: neither the machine's load nor the cost of 4D features shall decide a row.
        conditions = Conditions(
            latency_s=options.latency,
            period_s=self._contract.policy.step_s,
            timeout_s=options.timeout,
            scene=options.scene,
        )
        evaluation = Evaluation(
            folder / "checkpoint",
            self._contract.path,
            # Other scenes for each seed, so that what one scene is like does not count as often as there are seeds.
            options.scene_seed + seed * options.episodes,
            conditions,
            Geometry(options.geometry, LIVE_CACHE_STEPS) if given == "4d" else None,
            device=options.device,
            out=folder / f"rollouts-{given}",
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
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    names = ",".join(row.name for row in ROWS)
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path, help="folder for checkpoints and results")
    p.add_argument("--episodes-dir", type=Path, required=True, help="of `oracle.py collect`")
    p.add_argument("--targets", type=Path, required=True, help="of `swiftvla teacher-targets`, for these episodes")
    p.add_argument("--truth", type=Path, default=None, help="of `oracle.py collect`, for the row truth")
    p.add_argument("--geometry", type=Path, default=Path("models/geometry-nano"), help="that the targets are from")
    p.add_argument("--init", type=Path, default=Path("models/swiftvla-nano-grounding"), help="where every row starts")
    p.add_argument("--json", type=Path, default=None, help="write all results to this file, too")
    p.add_argument("--rows", default=names, help=f"which, with commas between them (default: {names})")
    p.add_argument("--seeds", type=_numbers, default=(0,), help="of the trainings, such as 0,1,2 (default: 0)")
    p.add_argument("--steps", type=int, default=1000, help="optimiser steps of a row (default: 1000)")
    p.add_argument("--batch", type=int, default=64, help="samples a step (default: 64)")
    p.add_argument("--noise-samples", type=int, default=4, help="noisy chunks per observation (default: 4)")
    p.add_argument("--learning-rate", type=float, default=1e-3, help="peak (default: 1e-3)")
    p.add_argument("--log-gradients-every", type=int, default=25, help="steps (default: 25)")
    p.add_argument("--episodes", type=int, default=200, help="rollouts of each measurement (default: 200)")
    p.add_argument("--scene-seed", type=int, default=10_000, help="of the first rollout's scene (default: 10000)")
    p.add_argument("--scene", default="sizes", help="what scenes are variants of (default: sizes)")
    p.add_argument("--timeout", type=float, default=8.0, help="simulated seconds for a task (default: 8)")
    # More than a policy step, so that there is an inference every second step: they are what rollouts cost.
    p.add_argument("--latency", type=float, default=0.12, help="from an observation to its chunk, s (default: 0.12)")
    p.add_argument("--robot", default=str(ROBOT), help="the simulated robot's contract")
    p.add_argument("--workers", type=int, default=2, help="processes, for training and rollouts (default: 2)")
    p.add_argument("--cluster", default=None, help="a Ray cluster for the rollouts: auto, or host:port of its head")
    p.add_argument("--device", default="cpu", help="cpu or cuda")
    return p


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """What all rows have in common; folders by what they hold, as their places mean nothing elsewhere."""
    keys = (
        *("steps", "batch", "noise_samples", "learning_rate", "log_gradients_every"),
        *("episodes", "scene_seed", "scene", "timeout", "latency"),
    )
    targets = json.loads((options.targets / "config.json").read_text(encoding="utf-8"))
    if targets.get("geometry_sha256") != geometry_sha256(options.geometry):
        raise AblationError(f"{options.targets}: are not of --geometry {options.geometry}; name the one that made them")
    return {key: getattr(options, key) for key in keys} | {
        "contract_sha256": digest_of(load_contract(options.robot)),
        "init_sha256": files_sha256(options.init, ("config.json", "model.safetensors")),
        "geometry_sha256": targets.get("geometry_sha256"),
        "demonstrations": len(list(options.episodes_dir.glob("episode_*.safetensors"))),
    }


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Run what is missing, and print the tables."""
    options = parser().parse_args()
    options.init, options.geometry = model_path(options.init), model_path(options.geometry)
    chosen, known = [name for name in options.rows.split(",") if name], {row.name: row for row in ROWS}
    if unknown := [name for name in chosen if name not in known]:
        sys.exit(f"--rows: {unknown} are none of {list(known)}")
    if options.truth is None and (lacking := [name for name in chosen if known[name].teacher == "truth"]):
        sys.exit(f"--rows {','.join(lacking)}: add --truth, the TRUTH of `oracle.py collect`")
    begin = time.monotonic()
    try:
        results = Results(options.out, settings(options))
        ablation = Ablation(options, load_contract(options.robot), results)
        ablation.run([known[name] for name in chosen], options.seeds)
    except (AblationError, UserError, OSError) as error:
        sys.exit(str(error))
    runs, console = results.runs, Console(highlight=False, width=150)
    console.print(table(runs))
    console.print(gradients(runs))
    print(f"{time.monotonic() - begin:.0f} s")
    if options.json is not None:
        _write(options.json, {"format": FORMAT, "settings": results.settings, "runs": runs})


if __name__ == "__main__":
    main()
