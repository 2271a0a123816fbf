# SPDX-License-Identifier: Apache-2.0
"""Rollouts: what they measure, checked with policies whose behaviour is known."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from first_scenes import first_scenes
from numpy.typing import NDArray

from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.cluster.settings import SettingsError
from swiftvla_ros.cluster.work import Shard
from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.policy import Observation, Policy
from swiftvla_ros.policy.words.reader import NotUnderstoodError
from swiftvla_ros.sim.evaluation import rollout
from swiftvla_ros.sim.evaluation.first_step import heads_to, task_of_episode
from swiftvla_ros.sim.evaluation.rollout import (
    Conditions,
    EpisodeResult,
    Evaluation,
    ResultError,
    evaluate,
    roll_out,
    summarise,
)
from swiftvla_ros.sim.evaluation.statistics import paired_difference, wilson
from swiftvla_ros.sim.expert.expert import TICK_S, Expert
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.tasks.registry import STANDARD_TASKS, parse
from swiftvla_ros.sim.tasks.watcher import TaskResult
from swiftvla_ros.sim.world import SimWorld

HORIZON = 10
SEED = 40


class Replay(Policy):
    """Chunks cut out of a demonstration that was made in a second world with the same scene.

    ``swap`` gives the colour that it demonstrates instead of the one in the instruction.
    """

    step_s = 0.1

    def __init__(self, world: SimWorld, twin: SimWorld, swap: dict[str, str] | None = None) -> None:
        self._world, self._twin, self._swap = world, twin, swap or {}
        self._plans: dict[Task, NDArray[np.float64]] = {}

    def infer(self, observation: Observation, **_: object) -> NDArray[np.float64]:
        task = parse(observation.instruction)
        assert task is not None
        task = Task(task.verb, self._swap.get(task.color, task.color))
        if task not in self._plans:
            self._plans[task] = self._plan(task)
        plan = self._plans[task]
        times = self._world.time_s + self.step_s * np.arange(HORIZON)
        ticks = np.minimum(np.round(times / TICK_S).astype(int), len(plan) - 1)
        return plan[ticks]

    def _plan(self, task: Task) -> NDArray[np.float64]:
        self._twin.reset(SEED)
        expert = Expert(self._twin.contract)
        expert.start(task, self._twin.commanded())
        commands = [self._twin.commanded()]
        for _ in range(200):
            commands.append(expert.tick(self._twin))
            self._twin.command(commands[-1])
            self._twin.advance(TICK_S)
        return np.array(commands)


class Still(Policy):
    """A policy that stays where it is."""

    step_s = 0.1

    def infer(self, observation: Observation, **_: object) -> NDArray[np.float64]:
        return np.tile(observation.state, (HORIZON, 1))


@pytest.fixture(scope="module")
def twin(contract: Contract) -> Iterator[SimWorld]:
    """A second world."""
    with SimWorld(contract) as world:
        yield world


@pytest.mark.parametrize("task", [Task("pick", "green"), Task("touch", "blue")])
@pytest.mark.parametrize("latency_s", [0.0, 0.12])
def test_demonstrated_commands_succeed_as_chunks(task: Task, latency_s: float, world: SimWorld, twin: SimWorld) -> None:
    """Chunks are paired with time as demonstrations are, whatever the latency: replayed commands do the task."""
    result = roll_out(Replay(world, twin), world, task, SEED, Conditions(latency_s, timeout_s=5.0))
    assert result.verdict == "DONE"
    assert result.refused == 0
    assert result.choices == (0, 1, 2), "each colour word leads to its block"


def test_a_policy_that_takes_another_block_is_caught(world: SimWorld, twin: SimWorld) -> None:
    """The share of wrong blocks counts what it says."""
    policy = Replay(world, twin, swap={"red": "green"})
    result = roll_out(policy, world, Task("pick", "red"), SEED, Conditions(0.05, timeout_s=5.0))
    assert result.verdict == "WRONG_BLOCK"
    assert result.choices == (1, 1, 2)


def test_standing_still_is_no_success(contract: Contract) -> None:
    """Nothing done is counted as not done, for every task, and the report can be written as JSON."""
    conditions = Conditions(0.03, timeout_s=0.5)
    with SimWorld(contract) as world:
        results = [
            roll_out(Still(), world, task_of_episode(i), SEED + i, conditions) for i in range(len(STANDARD_TASKS))
        ]
    report = summarise(results, 1.0)
    assert {(episode.verb, episode.color) for episode in report.episodes} == {(t.verb, t.color) for t in STANDARD_TASKS}
    assert (report.done["all"].count, report.done["pick"].total) == (0, 3)
    assert report.wrong_block["all"].count == 0
    assert report.word_changes_choice.count == 0
    assert json.loads(json.dumps(asdict(report)))["done"]["all"]["total"] == len(STANDARD_TASKS)


def test_parts_of_an_evaluation_come_together(checkpoint: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects the figures of several machines: results, kept or not, are one run's; other conditions are refused."""
    alone = Evaluation(checkpoint, contract.path, SEED, Conditions(0.05, timeout_s=0.3), device="cpu")
    kept = replace(alone, out=tmp_path / "results")
    whole = evaluate(alone, 3, Runner(progress=False))
    half = evaluate(kept, 3, Runner(shard=Shard(2, 2), progress=False))
    assert [result.seed for result in half.episodes] == [SEED + 1]
    parts = evaluate(kept, 3, Runner(shard=Shard(1, 2), progress=False))
    assert (parts.episodes, parts.done, parts.problem) == (whole.episodes, whole.done, "")
    assert {path.name for path in kept.out.iterdir()} == {  # type: ignore[union-attr]
        "evaluation.json", *(f"episode_{number:06d}.json" for number in range(3)),
    }  # fmt: skip
    with pytest.raises(SettingsError, match=r"conditions is .*timeout_s.*0\.3.*now it would be"):
        evaluate(replace(kept, conditions=Conditions(0.05, timeout_s=0.4)), 3, Runner(progress=False))
    (tmp_path / "results" / "episode_000001.json").write_text("{}")
    with pytest.raises(ResultError, match=r"episode_000001.json: corrupt .*delete it"):
        evaluate(kept, 3, Runner(progress=False))


class Deaf(Still):
    """A policy that understands nothing."""

    def check_instruction(self, text: str) -> str:
        raise NotUnderstoodError(f"not understood: '{text}'")


def test_what_is_not_understood_moves_nothing_and_is_counted(world: SimWorld) -> None:
    """No chunk is computed for words that mean nothing, and they are neither done nor a wrong block."""
    result = roll_out(Deaf(), world, Task("pick", "red"), SEED, Conditions(0.03, wordings="held-out"))
    assert (result.verdict, result.chunks, result.choices, result.read) == ("NOT_UNDERSTOOD", 0, (), "")
    report = summarise([result], 1.0)
    assert report.not_understood["pick"].count == report.not_understood["all"].count == 1
    assert report.done["all"].count == report.wrong_block["all"].count == report.first_step_right.count == 0


class Reading(Still):
    """Reads everything as the blue block's touch, and keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def check_instruction(self, text: str) -> str:
        task = parse(text)
        return text if task is not None and task.color != "blue" else "touch the blue block"

    def infer(self, observation: Observation, **_: object) -> NDArray[np.float64]:
        self.given.append(observation.instruction)
        return super().infer(observation)


def test_a_policy_gets_what_it_read(world: SimWorld) -> None:
    """The words of a rollout are the policy's own reading of them, as over ROS."""
    policy = Reading()
    result = roll_out(policy, world, Task("touch", "blue"), SEED, Conditions(0.03, timeout_s=0.3, wordings="free"))
    assert result.read == policy.given[-1] == "touch the blue block"
    assert result.instruction != result.read


def test_a_change_of_mind_comes_while_the_arm_follows_another_task(world: SimWorld) -> None:
    """First another task's words, then this one's, and the time counts from then."""
    policy = Reading()
    conditions = Conditions(0.03, timeout_s=0.4, changes_mind=True)
    result = roll_out(policy, world, Task("touch", "blue"), SEED, conditions)
    told = list(dict.fromkeys(policy.given[len(COLORS) :]))  # behind the gauges of the first step
    assert len(told) == 2
    assert parse(told[0]) != Task("touch", "blue")
    assert told[1] == result.read == "touch the blue block"
    assert result.seconds == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize(("reaction_s", "late", "verdict"), [(0.5, True, "PENDING"), (0.0, False, "WRONG_BLOCK")])
def test_what_the_arm_was_at_already_is_no_mistake_but_counted(
    world: SimWorld, monkeypatch: pytest.MonkeyPatch, reaction_s: float, late: bool, verdict: str
) -> None:
    """Protects the figure: a change of mind that no arm can follow in time is told apart from one that was missed."""
    found = iter([TaskResult.WRONG_BLOCK, TaskResult.PENDING])

    def watch(_world: SimWorld, _task: Task) -> SimpleNamespace:
        watcher = SimpleNamespace(result=TaskResult.PENDING)
        ends = next(found)

        def update(_dt_s: float) -> TaskResult:
            watcher.result = ends
            return ends

        watcher.update = update
        return watcher

    monkeypatch.setattr(rollout, "watch", watch)
    monkeypatch.setattr(rollout, "REACTION_S", reaction_s)
    conditions = Conditions(0.03, timeout_s=0.4, changes_mind=True)
    result = roll_out(Reading(), world, Task("touch", "blue"), SEED, conditions)
    assert (result.late, result.verdict) == (late, verdict)
    assert summarise([result], 1.0).late.count == late


def test_figures_are_sorted_by_verb_and_colour() -> None:
    """Successes and wrong blocks are counted where they belong."""
    results = [
        EpisodeResult(0, "pick", "red", "", "DONE", 2.0, 30, 0, (0, 1, 2)),
        EpisodeResult(1, "pick", "blue", "", "WRONG_BLOCK", 1.0, 30, 0, (0, 0, 0)),
        EpisodeResult(2, "touch", "red", "", "PENDING", 12.0, 30, 0, (1, 0, 2)),
    ]
    report = summarise(results, 1.0)
    assert (report.done["pick"].count, report.done["pick"].total) == (1, 2)
    assert (report.done["pick red"].share, report.done["touch"].share) == (1.0, 0.0)
    assert (report.wrong_block["pick"].count, report.wrong_block["touch"].count) == (1, 0)
    assert report.first_step_right.count == 1
    assert report.word_changes_choice.count == 2
    assert report.mean_seconds == 2.0


def test_wilson_interval() -> None:
    """Intervals are Wilson's: 9 of 10 gives 59.6…98.2 %, and neither end leaves 0…1."""
    share = wilson(9, 10)
    assert (share.low, share.high) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert wilson(0, 5).low == pytest.approx(0.0)
    assert wilson(5, 5).high == pytest.approx(1.0)
    assert np.isnan(wilson(0, 0).share)


def test_fresh_scenes_show_where_the_blocks_are(contract: Contract) -> None:
    """Gauges of the first step know the truth: labels are of the scene that the picture shows."""
    scenes = list(first_scenes(contract, 3, SEED))
    for scene in scenes:
        assert parse(scene.observation.instruction) == scene.task
        assert set(scene.observation.images) == set(contract.camera_names)
    assert not np.allclose(scenes[0].blocks, scenes[1].blocks)


def test_heading_is_the_block_below_the_hand(world: SimWorld, twin: SimWorld, contract: Contract) -> None:
    """Where a chunk leads is read from its last row."""
    world.reset(SEED)
    for color in COLORS:
        chunk = Replay(world, twin).infer(Observation({}, world.state(), f"pick up the {color} block"))
        assert heads_to(contract, chunk, world.block_positions()) == COLORS.index(color)


def test_pairs_tell_more_than_two_shares() -> None:
    """Protects the closed-loop gate: only scenes that differ count, with an interval that no agreement makes empty."""
    alike = paired_difference([True] * 200, [True] * 200)
    assert alike.difference == 0
    assert -0.02 < alike.low < 0 < alike.high < 0.02
    worse = paired_difference([True] * 200, [True] * 180 + [False] * 20)
    assert (worse.only_first, worse.only_second, worse.difference) == (20, 0, -0.1)
    assert worse.low < -0.1 < worse.high < 0
