# SPDX-License-Identifier: Apache-2.0
"""A policy on the simulated robot, through the same executor as on ROS, but without ROS and faster than real time."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.cluster.settings import claim
from swiftvla_ros.cluster.work import Work
from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.contract.store import digest_of
from swiftvla_ros.episodes.teacher.stream import GeometryStream, geometry_sha256
from swiftvla_ros.errors import UserError
from swiftvla_ros.files import read_json_object, unreadable, whole_file
from swiftvla_ros.policy import Policy, load_policy
from swiftvla_ros.policy.checkpoint import open_checkpoint
from swiftvla_ros.policy.words.file import words_sha256
from swiftvla_ros.policy.words.reader import NotUnderstoodError
from swiftvla_ros.sim.evaluation.first_step import choices, first_scene, task_of_episode
from swiftvla_ros.sim.evaluation.policy_driver import PolicyDriver
from swiftvla_ros.sim.evaluation.policy_with_4d import PolicyWith4D
from swiftvla_ros.sim.evaluation.statistics import Share, shares_by_task, wilson
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.tasks.registry import STANDARD_VERBS, phrase, scene_for, tasks_of, watch
from swiftvla_ros.sim.tasks.watcher import TaskResult
from swiftvla_ros.sim.varied_world import VariedWorld
from swiftvla_ros.sim.wording.sentences import Wordings, say
from swiftvla_ros.sim.world import SimWorld

SETTINGS = "evaluation.json"
"""The file that says what a folder of results is of."""
NOT_UNDERSTOOD = "NOT_UNDERSTOOD"
"""The verdict where the policy says that it doesn't know what is meant: nothing moves."""
CHANGE_S = (0.3, 1.5)
"""With a change of mind: for how long another task is followed first; a whole one takes some 2 s."""
REACTION_S = 0.5
"""With a change of mind: what is touched sooner after the new words is the old ones' doing: no picture, no inference
and no braking is quick enough (docs/words.md)."""
TIMEOUT_S = 12.0
_WATCH_TICKS = 2


class ResultError(UserError):
    """A kept result that can't be read; the text names the file and the fix."""


@dataclass(frozen=True)
class Conditions:
    """What a policy is rolled out under."""

    # Time from an observation to its chunk, in simulation; None: what each inference really took, at most
    # `MAX_LATENCY_S`.
    latency_s: float | None = None
    # Time between observations; None: the cameras' rate, or the policy's step where geometry features are given.
    period_s: float | None = None
    timeout_s: float = TIMEOUT_S  # simulated seconds after which a task counts as not done
    verbs: tuple[str, ...] = STANDARD_VERBS  # which tasks it is asked for in turn
    scene: str | None = None  # name of the scenes' variant; None: the one that the tasks need
    wordings: Wordings = "known"  # how tasks are said
    # Told another task first, and this one while the arm moves for that; the time that it has begins then.
    changes_mind: bool = False
    varied: bool = False  # scenes that don't look alike


@dataclass(frozen=True)
class Geometry:
    """The geometry checkpoint that the policy's 4D branch is fed from, and its temporal cache K in policy steps."""

    folder: Path
    cache_steps: int


@dataclass(frozen=True)
class EpisodeResult:
    """One rollout."""

    # The scene and what was asked.
    seed: int
    verb: str
    color: str
    instruction: str
    verdict: str  # "DONE", "WRONG_BLOCK", "PENDING" (not done in time) or "NOT_UNDERSTOOD"
    seconds: float  # simulated time until the verdict
    # Chunks that the executor accepted, and refused.
    chunks: int
    refused: int
    # Colour index of the block headed to before any motion, for each colour word; none where it isn't understood.
    choices: tuple[int, ...]
    read: str = ""  # what the policy read the instruction as
    late: bool = False  # with a change of mind: another block was taken or touched within `REACTION_S` of the new words


@dataclass(frozen=True)
class EvaluationReport:
    """Rollouts and what they say; every share with its 95 % interval."""

    episodes: tuple[EpisodeResult, ...]  # all rollouts
    done: dict[str, Share]  # done in time: by "<verb>", "<verb> <color>" and "all"
    wrong_block: dict[str, Share]  # the share that took a wrong block: by "<verb>" and "all"
    not_understood: dict[str, Share]  # the share that the policy said it doesn't understand: by "<verb>" and "all"
    first_step_right: Share  # scenes in which the policy heads to the commanded block before any motion
    word_changes_choice: Share  # scenes in which the three colour words lead to three different blocks
    late: Share  # with a change of mind, scenes whose new words came too late for another block
    mean_seconds: float  # simulated seconds of the successful episodes
    wall_seconds: float  # what the evaluation took
    problem: str = ""  # what couldn't be rolled out, and why


@dataclass(frozen=True)
class Evaluation:
    """What is rolled out, in plain values that go to other processes."""

    checkpoint: Path
    contract: Path  # the robot's contract file
    seed: int  # of the first scene; the following ones count up
    conditions: Conditions = Conditions()
    geometry: Geometry | None = None  # what the policy's 4D branch is fed from
    runtime: str = "auto"
    device: str = "auto"
    # Of each process; as many as it has cores for None. One: a result doesn't depend on how many share the work.
    threads: int | None = 1
    out: Path | None = None  # folder of a file for each episode; None: nothing is kept

    def file(self, episode: int) -> Path | None:
        """Say where an episode's result is kept."""
        return None if self.out is None else self.out / f"episode_{episode:06d}.json"


def evaluation_work(evaluation: Evaluation, episodes: int) -> Work[int, EpisodeResult]:
    """Describe rollouts on fresh scenes, all tasks in turn; those that were kept are not made again.

    With a fixed ``latency_s`` a result depends on the seed alone, whoever makes it.
    """
    return Work(
        "rolling out",
        range(episodes),
        partial(_roll_out, evaluation),
        files=lambda episode: [path for path in [evaluation.file(episode)] if path is not None],
        unit="episodes",
    )


def evaluate(evaluation: Evaluation, episodes: int, runner: Runner) -> EvaluationReport:
    """Roll a checkpoint out, the runner's part of :func:`evaluation_work`; where results are kept, report all of them.

    Raises
    ------
    SettingsError
        The folder's results are of another checkpoint, or of other conditions.
    WorkError
        Results are not kept, and an episode couldn't be rolled out.
    """
    begin = time.monotonic()
    if evaluation.out is not None:
        claim(evaluation.out / SETTINGS, _settings(evaluation))
    done = runner.run(evaluation_work(evaluation, episodes))
    if evaluation.out is None:
        results = done.check().results
    else:
        kept = [evaluation.file(episode) for episode in range(episodes)]
        results = [_read(path) for path in kept if path is not None and path.exists()]
    return replace(summarise(results, time.monotonic() - begin, evaluation.conditions.verbs), problem=done.problem)


def _settings(evaluation: Evaluation) -> dict[str, Any]:
    geometry = evaluation.geometry
    return {
        "checkpoint_sha256": open_checkpoint(evaluation.checkpoint).sha256,
        "words_sha256": words_sha256(evaluation.checkpoint),
        "contract_sha256": digest_of(load_contract(evaluation.contract)),
        "seed": evaluation.seed,
        "conditions": asdict(evaluation.conditions),
        "geometry_sha256": None if geometry is None else geometry_sha256(geometry.folder),
        "cache_steps": None if geometry is None else geometry.cache_steps,
    }


def summarise(
    results: Sequence[EpisodeResult], wall_seconds: float, verbs: tuple[str, ...] = STANDARD_VERBS
) -> EvaluationReport:
    """Put the figures of rollouts together."""
    found = [(r.verb, r.color, r.verdict) for r in results]
    seconds = [r.seconds for r in results if r.verdict == TaskResult.DONE.name]
    return EvaluationReport(
        episodes=tuple(results),
        done=shares_by_task(found, TaskResult.DONE.name, verbs, COLORS),
        wrong_block=shares_by_task(found, TaskResult.WRONG_BLOCK.name, verbs, ()),
        not_understood=shares_by_task(found, NOT_UNDERSTOOD, verbs, ()),
        first_step_right=wilson(
            sum(r.choices[COLORS.index(r.color)] == COLORS.index(r.color) for r in results if r.choices), len(results)
        ),
        word_changes_choice=wilson(sum(len(set(r.choices)) == len(COLORS) for r in results), len(results)),
        late=wilson(sum(r.late for r in results), len(results)),
        mean_seconds=float(np.mean(seconds)) if seconds else float("nan"),
        wall_seconds=wall_seconds,
    )


def roll_out(policy: Policy, world: SimWorld, task: Task, seed: int, conditions: Conditions) -> EpisodeResult:
    """One rollout of ``task`` in the scene of ``seed``."""
    world.reset(seed)
    tasks = tasks_of(conditions.verbs)
    said = first_scene(
        world,
        task,
        np.random.default_rng([seed, 4]),
        lambda task, rng: say(task, rng, conditions.wordings, tasks),
    )
    asked = EpisodeResult(seed, task.verb, task.color, said.observation.instruction, NOT_UNDERSTOOD, 0.0, 0, 0, ())
    try:
        read = policy.check_instruction(asked.instruction)
    except NotUnderstoodError:
        return asked
    scene = replace(said, observation=replace(said.observation, instruction=read))
    if isinstance(policy, PolicyWith4D):
        policy.reset()
        policy.watch(scene.observation.images)
    chosen = choices(policy, world.contract, scene)
    if conditions.changes_mind:
        rng = np.random.default_rng([seed, 8])
        others = [other for other in tasks if other != task]
        before = policy.check_instruction(phrase(others[int(rng.integers(len(others)))], rng))
        driver = PolicyDriver(policy, world, before, conditions.latency_s, conditions.period_s)
        for _ in range(round(rng.uniform(*CHANGE_S) / driver.tick_s)):
            driver.tick()
        driver.tell(read)
    else:
        driver = PolicyDriver(policy, world, read, conditions.latency_s, conditions.period_s)
    watcher = watch(world, task)
    ticks, late = 0, False
    while watcher.result is TaskResult.PENDING and ticks * driver.tick_s < conditions.timeout_s:
        driver.tick()
        ticks += 1
        if ticks % _WATCH_TICKS == 0:
            mistaken = watcher.update(_WATCH_TICKS * driver.tick_s) is TaskResult.WRONG_BLOCK
            if mistaken and conditions.changes_mind and ticks * driver.tick_s <= REACTION_S:
                watcher, late = watch(world, task), True
    return replace(
        asked,
        verdict=watcher.result.name,
        seconds=ticks * driver.tick_s,
        chunks=driver.executor.accepted,
        refused=driver.executor.refused,
        choices=chosen,
        read=read,
        late=late,
    )


def _roll_out(evaluation: Evaluation, episode: int) -> EpisodeResult:
    contract, policy = _loaded(replace(evaluation, out=None))
    conditions = evaluation.conditions
    make_world = VariedWorld if conditions.varied else SimWorld
    with make_world(contract, scene=scene_for(conditions.verbs, conditions.scene)) as world:
        task = task_of_episode(episode, conditions.verbs)
        result = roll_out(policy, world, task, evaluation.seed + episode, conditions)
    if (path := evaluation.file(episode)) is not None:
        with whole_file(path, durable=True) as partial_path:
            partial_path.write_text(json.dumps(asdict(result), ensure_ascii=False) + "\n", encoding="utf-8")
    return result


def _read(path: Path) -> EpisodeResult:
    try:
        kept = read_json_object(path)
        return EpisodeResult(**{**kept, "choices": tuple(kept["choices"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ResultError(unreadable(path, error, "delete it, and it is rolled out again")) from error


@lru_cache(maxsize=1)
def _loaded(evaluation: Evaluation) -> tuple[Contract, Policy]:
    """A process loads its policy once."""
    contract, geometry = load_contract(evaluation.contract), evaluation.geometry
    policy = load_policy(
        evaluation.checkpoint,
        contract=contract,
        runtime=evaluation.runtime,
        device=evaluation.device,
        threads=evaluation.threads,
        with_4d=geometry is not None,
    )
    if geometry is None:
        return contract, policy
    stream_device = "cuda" if policy.device.startswith("cuda") else "cpu"
    stream = GeometryStream(geometry.folder, contract, cache_steps=geometry.cache_steps, device=stream_device)
    return contract, PolicyWith4D(policy, stream)
