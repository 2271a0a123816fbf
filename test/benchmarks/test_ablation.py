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

from swiftvla_ros.cluster.settings import SettingsError
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
tables = load("benchmarks/ablation/_ablation_tables.py")
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

    def __init__(self, results: Any, break_at: str | None = None) -> None:
        super().__init__(Namespace(), load_contract("so101_sim"), results)
        self.done: list[str] = []
        self._break_at = break_at

    def train(self, row: Any, seed: int, folder: Path) -> dict[str, Any]:
        assert folder.parent.name == f"{row.name}-seed{seed}"
        self.done.append(f"train {folder.parent.name}")
        gradients = {"trajectory": {"norm": 2.0, "cosine": -0.25, "conflict": 0.75, "measured": 4}}
        return {"seconds": 1.0, "step": 3, "losses": {"action": 0.5}, "gradients": gradients}

    def measure(self, row: Any, given: str, seed: int, folder: Path) -> EvaluationReport:
        assert folder.name == f"{row.name}-seed{seed}"
        if f"{row.name} {given}" == self._break_at:
            raise KeyboardInterrupt
        self.done.append(f"{row.name} {given}")
        return report(3 if given == "4d" else 1)


def test_a_broken_off_ablation_goes_on(tmp_path: Path) -> None:
    """What is in the folder is neither trained nor measured again; rows that were asked for later are added."""
    rows = [ROWS["2d"], ROWS["no-mask"]]
    first = Rehearsal(ablation.Results(tmp_path, SETTINGS), "no-mask 4d")
    with pytest.raises(KeyboardInterrupt):
        first.run(rows, [0])
    assert first.done == ["train 2d-seed0", "2d 2d", "train no-mask-seed0", "no-mask 2d"]
    second = Rehearsal(ablation.Results(tmp_path, SETTINGS))
    second.run([*rows, ROWS["paper"]], [0])
    assert second.done == ["no-mask 4d", "train paper-seed0", "paper 2d", "paper 4d"]
    third = Rehearsal(ablation.Results(tmp_path, SETTINGS))
    third.run(rows, [0, 1])
    assert third.done == ["train 2d-seed1", "2d 2d", "train no-mask-seed1", "no-mask 2d", "no-mask 4d"]
    run = json.loads((tmp_path / "2d-seed0" / "result.json").read_text())
    assert run["training"]["losses"] == {"action": 0.5}
    assert run["results"]["2d"]["done"]["all"]["count"] == 1
    assert run["results"]["2d"]["verdicts"] == ["DONE", "PENDING", "PENDING", "PENDING"]


def test_two_at_once_share_the_rows(tmp_path: Path) -> None:
    """Protects hours of training: a row that somebody is at is left to them."""
    results = ablation.Results(tmp_path, SETTINGS)
    with results.taken(ROWS["2d"], 0) as entry:
        assert entry is not None
        other = Rehearsal(ablation.Results(tmp_path, SETTINGS))
        other.run([ROWS["2d"], ROWS["2d-longer"]], [0])
    assert other.done == ["train 2d-longer-seed0", "2d-longer 2d"]


def test_rows_of_other_settings_are_not_mixed_in(tmp_path: Path) -> None:
    """Rows of one folder can be compared: it says what differs instead."""
    ablation.Results(tmp_path, SETTINGS)
    with pytest.raises(SettingsError, match="steps is 3, now it would be 5"):
        ablation.Results(tmp_path, SETTINGS | {"steps": 5})


def test_the_table_and_the_figure_show_the_papers_numbers(tmp_path: Path) -> None:
    """Measured shares stand beside the paper's; seeds are pooled, and differences paired by seed and scene."""
    results = ablation.Results(tmp_path, SETTINGS)
    Rehearsal(results).run(ablation.ROWS, [0, 1])
    console = Console(width=180, file=io.StringIO(), record=True)
    console.print(tables.table(results.runs))
    lines = {line.strip().split("  ")[0]: line.split() for line in console.export_text().splitlines() if "…" in line}
    assert list(lines) == [row.title for row in ablation.ROWS]
    for row in ablation.ROWS:
        cells = lines[row.title][len(row.title.split()) + 2 :]
        assert cells[0] == "25.0%"
        assert lines[row.title][len(row.title.split()) :][:2] == ["3,", f"{row.deployed:.0%}"]
        published = [f"{value:.0%}" for value in row.paper.values()]
        assert [cell for cell in cells if cell in published] == published
        assert cells[-1] == "2"
        assert ("+0.0" in cells) == (row.name != "2d")
        assert ("-50.0" in cells) == ("4d" in row.inputs), "what is lost when 4D is taken away"
    console.print(tables.gradients(results.runs))
    assert "-0.25" in console.export_text()
    image, kept = tmp_path / "ablation.png", tmp_path / "ablation.json"
    kept.write_text(json.dumps({"settings": SETTINGS, "runs": results.runs}))
    load("docs/plots/ablation.py").main(kept, image)
    assert image.stat().st_size > 10_000


def test_a_difference_has_an_interval_over_scenes() -> None:
    """Protects the verdict: the same result in all scenes is certain, a mixed one has an interval around its mean."""
    same = tables.difference([[False] * 50] * 2, [[True] * 50] * 2)
    assert (same.difference, same.low, same.high) == (1.0, 1.0, 1.0)
    mixed = tables.difference([[True, False] * 50] * 3, [[True, True, False, False] * 25] * 3)
    assert mixed.difference == 0.0
    assert -0.12 < mixed.low < -0.04
    assert 0.04 < mixed.high < 0.12


def test_gradients_of_a_training_are_put_together() -> None:
    """Protects the reason for a no: mean norm, mean cosine, and how often a loss pulls against the action's."""
    lines = [
        {"action norm": 1.0, "action cosine": 1.0, "trajectory norm": 3.0, "trajectory cosine": -0.5},
        {"action norm": 2.0, "action cosine": 1.0, "trajectory norm": 1.0, "trajectory cosine": 0.25},
    ]
    told = tables.conflicts(lines)
    assert told["trajectory"] == {"norm": 2.0, "cosine": -0.125, "conflict": 0.5, "measured": 2}
    assert told["action"]["conflict"] == 0.0
