# SPDX-License-Identifier: Apache-2.0
"""A policy on the simulated robot, through the same executor as on ROS, but without ROS and faster than real time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.episodes.teacher.stream import GeometryStream
from swiftvla_ros.policy import Policy, load_policy
from swiftvla_ros.sim.evaluation.first_step import choices, first_scene, task_of_episode
from swiftvla_ros.sim.evaluation.policy_driver import PolicyDriver
from swiftvla_ros.sim.evaluation.policy_with_4d import PolicyWith4D
from swiftvla_ros.sim.evaluation.statistics import Share, shares_by_task, wilson
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.parallel import run_jobs
from swiftvla_ros.sim.tasks.registry import STANDARD_VERBS, scene_for, watch
from swiftvla_ros.sim.tasks.watcher import TaskResult
from swiftvla_ros.sim.world import SimWorld

TIMEOUT_S = 12.0
_WATCH_TICKS = 2


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
    verdict: str  # "DONE", "WRONG_BLOCK" or "PENDING" (not done in time)
    seconds: float  # simulated time until the verdict
    # Chunks that the executor accepted, and refused.
    chunks: int
    refused: int
    choices: tuple[int, ...]  # colour index of the block headed to before any motion, for each colour word


@dataclass(frozen=True)
class EvaluationReport:
    """Rollouts and what they say; every share with its 95 % interval."""

    episodes: tuple[EpisodeResult, ...]  # all rollouts
    done: dict[str, Share]  # done in time: by "<verb>", "<verb> <color>" and "all"
    wrong_block: dict[str, Share]  # the share that took a wrong block: by "<verb>" and "all"
    first_step_right: Share  # scenes in which the policy heads to the commanded block before any motion
    word_changes_choice: Share  # scenes in which the three colour words lead to three different blocks
    mean_seconds: float  # simulated seconds of the successful episodes
    wall_seconds: float  # what the evaluation took


def evaluate_checkpoint(
    folder: Path,
    contract: Contract,
    *,
    episodes: int,
    seed: int,
    workers: int = 1,
    runtime: str = "auto",
    device: str = "auto",
    conditions: Conditions = Conditions(),
    geometry: Geometry | None = None,
    progress: bool = True,
) -> EvaluationReport:
    """Roll a checkpoint out on fresh scenes, all tasks in turn.

    ``seed`` is the first scene's; the following ones count up. Several workers are processes of one thread each. With
    ``geometry``, the policy's 4D branch is used, too.
    """
    begin = time.monotonic()
    threads = None if workers <= 1 else 1
    loading = (folder, contract.path, runtime, device, threads, geometry)
    jobs = [(loading, index, seed, conditions) for index in range(episodes)]
    results = list(run_jobs(_roll_out, jobs, workers=workers, title="rolling out", progress=progress))
    results.sort(key=lambda result: result.seed)
    return summarise(results, time.monotonic() - begin, conditions.verbs)


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
        first_step_right=wilson(
            sum(r.choices[COLORS.index(r.color)] == COLORS.index(r.color) for r in results), len(results)
        ),
        word_changes_choice=wilson(sum(len(set(r.choices)) == len(COLORS) for r in results), len(results)),
        mean_seconds=float(np.mean(seconds)) if seconds else float("nan"),
        wall_seconds=wall_seconds,
    )


def roll_out(policy: Policy, world: SimWorld, task: Task, seed: int, conditions: Conditions) -> EpisodeResult:
    """One rollout of ``task`` in the scene of ``seed``."""
    world.reset(seed)
    scene = first_scene(world, task, np.random.default_rng([seed, 4]))
    if isinstance(policy, PolicyWith4D):
        policy.reset()
        policy.watch(scene.observation.images)
    chosen = choices(policy, world.contract, scene)
    instruction = scene.observation.instruction
    watcher = watch(world, task)
    driver = PolicyDriver(policy, world, instruction, conditions.latency_s, conditions.period_s)
    ticks = 0
    while watcher.result is TaskResult.PENDING and ticks * driver.tick_s < conditions.timeout_s:
        driver.tick()
        ticks += 1
        if ticks % _WATCH_TICKS == 0:
            watcher.update(_WATCH_TICKS * driver.tick_s)
    return EpisodeResult(
        seed=seed,
        verb=task.verb,
        color=task.color,
        instruction=instruction,
        verdict=watcher.result.name,
        seconds=ticks * driver.tick_s,
        chunks=driver.executor.accepted,
        refused=driver.executor.refused,
        choices=chosen,
    )


_Loading = tuple[Path, Path, str, str, int | None, Geometry | None]


def _roll_out(loading: _Loading, index: int, seed: int, conditions: Conditions) -> EpisodeResult:
    contract, policy = _loaded(*loading)
    with SimWorld(contract, scene=scene_for(conditions.verbs, conditions.scene)) as world:
        return roll_out(policy, world, task_of_episode(index, conditions.verbs), seed + index, conditions)


@lru_cache(maxsize=1)
def _loaded(
    folder: Path, contract_path: Path, runtime: str, device: str, threads: int | None, geometry: Geometry | None
) -> tuple[Contract, Policy]:
    """A process loads its policy once."""
    contract = load_contract(contract_path)
    policy = load_policy(
        folder, contract=contract, runtime=runtime, device=device, threads=threads, with_4d=geometry is not None
    )
    if geometry is None:
        return contract, policy
    stream_device = "cuda" if policy.device.startswith("cuda") else "cpu"
    stream = GeometryStream(geometry.folder, contract, cache_steps=geometry.cache_steps, device=stream_device)
    return contract, PolicyWith4D(policy, stream)
