# SPDX-License-Identifier: Apache-2.0
"""Rolls policies, the expert and a blind replay out on the benchmark's official initial states."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.cluster.settings import claim
from swiftvla_ros.cluster.work import Work
from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.contract.sections.hand import CartesianHand
from swiftvla_ros.contract.store import digest_of
from swiftvla_ros.files import read_json_object, unreadable, whole_file
from swiftvla_ros.policy import Policy, load_policy
from swiftvla_ros.policy.loading import policy_sha256
from swiftvla_ros.policy.words.reader import NotUnderstoodError
from swiftvla_ros.sim.evaluation.statistics import Share, wilson
from swiftvla_ros.sim.libero.drivers import REPLAN_STEPS, BlindReplay, HandDriver, PolicyHand
from swiftvla_ros.sim.libero.expert import LiberoExpert
from swiftvla_ros.sim.libero.layouts import Assignment, assignment
from swiftvla_ros.sim.libero.process import LiberoClient, LiberoError, OpenScene, SceneMoment, kept_client
from swiftvla_ros.sim.libero.suites import (
    LIMIT_STEPS,
    SUITES,
    SceneFile,
    another_task,
    read_scene_file,
    standard_suite,
)

SETTINGS = "libero.json"
"""The file that says what a folder of results was made with."""
EvaluatedRow = Literal["policy", "wrong sentence", "blind replay", "expert"]
# The layout that a blind replay's demonstration is shown on is drawn as the benchmark draws its own.
_SHOWN_SEEDS = range(90_000, 90_005)


@dataclass(frozen=True)
class LiberoRun:
    """What is evaluated, in plain values that go to other processes."""

    suite: str
    contract: Path
    policy: Path | None = None
    python: str = ""
    out: Path | None = None  # folder of a small file for each episode; None: results are not kept
    seed: int = 7
    replan_steps: int = REPLAN_STEPS
    pixels: int = 256
    sentences: Literal["scene", "name"] = "scene"  # a scene file's own, or the one that its name spells
    device: str = "auto"

    def file(self, row: EvaluatedRow, task: str, initial: int) -> Path | None:
        """Where an episode's result is kept."""
        return None if self.out is None else self.out / row.replace(" ", "_") / f"{task}_{initial:02d}.json"


@dataclass(frozen=True)
class LiberoEpisode:
    """How one episode ended."""

    row: str
    task: str
    initial: int
    told: str
    success: bool
    steps: int


@dataclass(frozen=True)
class _TaskRun:
    """The episodes of one row and task: one scene, built once."""

    row: EvaluatedRow
    task: str
    initial: tuple[int, ...]


@dataclass(frozen=True)
class LiberoReport:
    """Successes with their intervals, by row, and by row and task."""

    shares: dict[str, Share]
    by_task: dict[str, dict[str, Share]]
    episodes: tuple[LiberoEpisode, ...]
    versions: dict[str, str]
    problem: str = ""
    missing: int = field(default=0)  # episodes that are made elsewhere, or failed


def evaluate_libero(
    run: LiberoRun, rows: Sequence[EvaluatedRow], tasks: int | None, states: int, runner: Runner
) -> LiberoReport:
    """Roll out every row on ``states`` official initial states of the first ``tasks`` tasks (None: all of them).

    Raises
    ------
    SettingsError
        The folder's results are of another policy, or of other conditions.
    LiberoError
        No interpreter here has the benchmark.
    """
    names = list(scenes_of(run.python, SUITES[run.suite]))[:tasks]
    if run.out is not None:
        claim(run.out / SETTINGS, _settings(run))
    items = [_TaskRun(row, task, tuple(range(states))) for row in rows for task in names]
    work: Work[_TaskRun, list[LiberoEpisode]] = Work(
        "LIBERO",
        items,
        partial(_roll_out, run),
        files=lambda item: [path for n in item.initial if (path := run.file(item.row, item.task, n)) is not None],
        size=lambda item: len(item.initial),
        unit="episodes",
    )
    done = runner.run(work)
    if run.out is None:
        found = [episode for result in done.check().results for episode in result]
    else:
        paths = [path for item in items for path in work.files(item)]
        found = [_read(path) for path in paths if path.exists()]
    shares = {str(row): _share(found, row) for row in rows}
    by_task = {str(row): {task: _share(found, row, task) for task in names} for row in rows}
    missing = len(rows) * len(names) * states - len(found)
    return LiberoReport(shares, by_task, tuple(found), versions_of(run.python), done.problem, missing)


def roll_out(client: LiberoClient, driver: HandDriver, initial: int, seed: int) -> tuple[bool, int]:
    """One episode from an official initial state: whether it was done, and after how many steps."""
    moment = client.reset(initial=initial, seed=seed + initial, look=driver.looks(0))
    for step in range(LIMIT_STEPS):
        moment = client.step(driver.act(step, moment), look=driver.looks(step + 1))
        if moment.success:
            return True, step + 1
    return False, LIMIT_STEPS


def _share(found: Sequence[LiberoEpisode], row: str, task: str | None = None) -> Share:
    chosen = [e.success for e in found if e.row == row and task in (None, e.task)]
    return wilson(sum(chosen), len(chosen))


def _settings(run: LiberoRun) -> dict[str, Any]:
    return {
        "suite": run.suite,
        "policy_sha256": None if run.policy is None else policy_sha256(run.policy),
        "contract_sha256": digest_of(load_contract(run.contract)),
        "seed": run.seed,
        "replan_steps": run.replan_steps,
        "pixels": run.pixels,
        "sentences": run.sentences,
    }


def _roll_out(run: LiberoRun, item: _TaskRun) -> list[LiberoEpisode]:
    todo, results = [], []
    for initial in item.initial:
        path = run.file(item.row, item.task, initial)
        if path is None or not path.exists():
            todo.append(initial)
    suite, client = SUITES[run.suite], kept_client(run.python, run.pixels)
    replay = _demonstration(run, item.task) if item.row == "blind replay" else None
    scene = client.open(suite, item.task)
    if todo and scene.initial_states <= max(todo):
        raise LiberoError(f"{item.task}: has {scene.initial_states} initial states; write --init-states up to that")
    told = sentence(run, item.task if item.row != "wrong sentence" else _other(run, item.task), scene, item.row)
    for initial in todo:
        success, steps = False, 0
        with suppress(NotUnderstoodError):  # which it says, and nothing moves
            success, steps = roll_out(client, _driver(run, item, scene, told, replay, initial), initial, run.seed)
        results.append(LiberoEpisode(item.row, item.task, initial, told, success, steps))
        if (path := run.file(item.row, item.task, initial)) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path, durable=True) as partial_path:
                partial_path.write_text(json.dumps(asdict(results[-1])) + "\n", encoding="utf-8")
    return results


def _driver(
    run: LiberoRun, item: _TaskRun, scene: OpenScene, told: str, replay: NDArray[np.float64] | None, initial: int
) -> HandDriver:
    if item.row == "expert":
        return LiberoExpert(scene, hand_of(run.contract))
    if replay is not None:
        return BlindReplay(replay)
    contract, policy = _policy(run.policy, run.contract, run.device)
    return PolicyHand(policy, contract, told, seed=initial * LIMIT_STEPS, replan_steps=run.replan_steps)


def sentence(run: LiberoRun, task: str, scene: OpenScene, row: EvaluatedRow) -> str:
    """What is said of ``task``: its scene file's sentence, or, if asked for, the one that its name spells."""
    if run.sentences == "name":
        return task.replace("_", " ")
    if row != "wrong sentence":
        return scene.language
    words = scenes_of(run.python, SUITES[run.suite])[task].split("(:language", 1)[1].split(")", 1)[0]
    return " ".join(words.lower().split())


def _other(run: LiberoRun, task: str) -> str:
    return another_task(task, scene_files(run.python, SUITES[run.suite]))


def _demonstration(run: LiberoRun, task: str) -> NDArray[np.float64]:
    """The actions of one demonstration of the standard suite's task of the same name, as the expert shows it."""
    client = kept_client(run.python, run.pixels)
    scene = client.open(SUITES[standard_suite(run.suite)], task)
    for seed in _SHOWN_SEEDS:
        if (actions := demonstrate(client, scene, seed, hand_of(run.contract))) is not None:
            return actions
    raise LiberoError(f"{task}: the expert shows no demonstration to replay on seeds {list(_SHOWN_SEEDS)}")


def demonstrate(client: LiberoClient, scene: OpenScene, seed: int, hand: CartesianHand) -> NDArray[np.float64] | None:
    """The expert's actions [T, 7] on a layout that the benchmark draws; None where it did not do the task."""
    expert, actions = LiberoExpert(scene, hand), []
    moment: SceneMoment = client.reset(initial=None, seed=seed, look=False)
    for step in range(LIMIT_STEPS):
        actions.append(expert.act(step, moment))
        moment = client.step(actions[-1], look=False)
        if moment.success:
            return np.array(actions)
    return None


def hand_of(contract: Path) -> CartesianHand:
    """How far the hand of the benchmark's robot goes."""
    hand = load_contract(contract).hand
    assert hand is not None, contract
    return hand


def _read(path: Path) -> LiberoEpisode:
    try:
        return LiberoEpisode(**read_json_object(path))
    except (OSError, ValueError, TypeError) as error:
        raise LiberoError(unreadable(path, error, "delete it, and it is rolled out again")) from error


@cache
def scenes_of(python: str, suite: str) -> dict[str, str]:
    """A suite's tasks in their order → the text of each one's scene file."""
    with LiberoClient(python) as client:
        return client.tasks(suite)


def scene_files(python: str, suite: str) -> dict[str, SceneFile]:
    """The same, read."""
    return {task: read_scene_file(text) for task, text in scenes_of(python, suite).items()}


def evaluated_layouts(python: str, task: str) -> set[Assignment]:
    """The layouts of a task's scene in the suites that are evaluated: nothing is shown on one of them."""
    found = set()
    for suite in ("object", "object_swap", "object_task"):
        scene = scene_files(python, SUITES[suite]).get(task)
        if scene is not None:
            found.add(assignment(scene))
    return found


@cache
def versions_of(python: str) -> dict[str, str]:
    """The versions of LIBERO and of what it runs on."""
    with LiberoClient(python) as client:
        return client.versions()


@lru_cache(maxsize=1)
def _policy(folder: Path | None, contract_path: Path, device: str) -> tuple[Contract, Policy]:
    """A process loads its policy once."""
    assert folder is not None
    contract = load_contract(contract_path)
    return contract, load_policy(folder, contract=contract, device=device, threads=1)
