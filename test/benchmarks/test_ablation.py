# SPDX-License-Identifier: Apache-2.0
"""The ablation's runner: nothing is measured twice, and its rows stand beside the paper's figures."""

import importlib.util
import io
import json
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from swiftvla_ros.contract import load_contract
from swiftvla_ros.sim.evaluation.rollout import EpisodeResult, EvaluationReport, summarise

REPOSITORY = Path(__file__).parents[2]
SETTINGS = {"steps": 3, "episodes": 4}


def load(path: str) -> ModuleType:
    """A script of the repository as a module."""
    spec = importlib.util.spec_from_file_location(f"script_{Path(path).stem}", REPOSITORY / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


ablation = load("benchmarks/ablation/run.py")
ROWS = {row.name: row for row in ablation.ROWS}


def report(done: int) -> EvaluationReport:
    """Four rollouts of which ``done`` succeeded."""
    verdicts = ["DONE"] * done + ["PENDING"] * (4 - done)
    episodes = [
        EpisodeResult(seed, "pick", "red", "pick up the red block", verdict, 3.0, 5, 0, (0, 1, 2))
        for seed, verdict in enumerate(verdicts)
    ]
    return summarise(episodes, 1.0)


class Rehearsal(ablation.Ablation):  # type: ignore[misc,name-defined]
    """Notes what would be trained and measured; breaks off before a measurement, when told."""

    def __init__(self, folder: Path, results: Any, break_at: str | None = None) -> None:
        super().__init__(Namespace(out=folder), load_contract("so101_sim"), results)
        self.done: list[str] = []
        self._break_at = break_at

    def train(self, row: Any, seed: int, folder: Path) -> dict[str, Any]:
        assert folder.name == f"{row.name}-seed{seed}"
        self.done.append(f"train {folder.name}")
        return {"seconds": 1.0, "step": 3, "losses": {"action": 0.5}}

    def measure(self, row: Any, given: str, folder: Path) -> EvaluationReport:
        assert folder.name.startswith(f"{row.name}-seed")
        if f"{row.name} {given}" == self._break_at:
            raise KeyboardInterrupt
        self.done.append(f"{row.name} {given}")
        return report(3 if given == "4d" else 1)


def test_a_broken_off_ablation_goes_on(tmp_path: Path) -> None:
    """What is in the JSON is neither trained nor measured again; rows that were asked for later are added."""
    path = tmp_path / "results.json"
    rows = [ROWS["2d"], ROWS["no-mask"]]
    first = Rehearsal(tmp_path, ablation.Results(path, SETTINGS), "no-mask 4d")
    with pytest.raises(KeyboardInterrupt):
        first.run(rows, [0])
    assert first.done == ["train 2d-seed0", "2d 2d", "train no-mask-seed0", "no-mask 2d"]
    second = Rehearsal(tmp_path, ablation.Results(path, SETTINGS))
    second.run([*rows, ROWS["k3"]], [0])
    assert second.done == ["no-mask 4d", "train k3-seed0", "k3 2d", "k3 4d"]
    third = Rehearsal(tmp_path, ablation.Results(path, SETTINGS))
    third.run(rows, [0, 1])
    assert third.done == ["train 2d-seed1", "2d 2d", "train no-mask-seed1", "no-mask 2d", "no-mask 4d"]
    (run, *_) = json.loads(path.read_text())["runs"]
    assert run["training"]["losses"] == {"action": 0.5}
    assert run["results"]["2d"]["done"]["all"]["count"] == 1
    assert run["results"]["2d"]["verdicts"] == ["DONE", "PENDING", "PENDING", "PENDING"]


def test_rows_of_other_settings_are_not_mixed_in(tmp_path: Path) -> None:
    """Rows of one file can be compared: it says what differs instead."""
    path = tmp_path / "results.json"
    ablation.Results(path, SETTINGS).save()
    with pytest.raises(ablation.AblationError, match="steps = 3, now it is 5"):
        ablation.Results(path, SETTINGS | {"steps": 5})


def test_the_table_and_the_figure_show_the_papers_numbers(tmp_path: Path) -> None:
    """Measured shares stand beside tables 5, 6 and 7; seeds are pooled."""
    results = ablation.Results(tmp_path / "results.json", SETTINGS)
    Rehearsal(tmp_path, results).run(ablation.ROWS, [0, 1])
    console = Console(width=140, file=io.StringIO(), record=True)
    console.print(ablation.table(results.runs))
    lines = {line.strip().split("  ")[0]: line.split() for line in console.export_text().splitlines() if "…" in line}
    published = {
        "2D only": ["0.36"],
        "4D, no mask": ["0.02", "0.50"],
        "4D mask": ["0.40", "0.48"],
        "both masks": ["0.50", "0.52"],
        "both masks, reconstruction": ["0.53", "0.55"],
        "the same, K = 3": ["0.47", "0.49"],
        "the same, K = 6": ["0.52", "0.55"],
    }
    assert lines.keys() == published.keys()
    for title, paper in published.items():
        cells = lines[title]
        figures = cells[len(title.split()) : -1]
        assert figures[2::3] == paper
        assert figures[0::3] == ["0.25", "0.75"][: len(paper)]
        assert cells[-1] == "2"
    image = tmp_path / "ablation.png"
    load("docs/plots/ablation.py").main(results.path, image)
    assert image.stat().st_size > 10_000
