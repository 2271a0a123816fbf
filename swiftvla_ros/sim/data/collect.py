# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of the scripted expert, recorded as training data."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.cluster.settings import claim
from swiftvla_ros.cluster.work import Work
from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.contract.store import digest_of
from swiftvla_ros.episodes.datasets.store import Episode, save_episode
from swiftvla_ros.policy import Policy, load_policy
from swiftvla_ros.policy.checkpoint import open_checkpoint
from swiftvla_ros.sim.data.grounding_scenes import sample_arm
from swiftvla_ros.sim.evaluation.policy_driver import PolicyDriver
from swiftvla_ros.sim.expert.disturb import BUMP_S, sample_bump
from swiftvla_ros.sim.expert.expert import TICK_S, Expert
from swiftvla_ros.sim.inverse_kinematics import InverseKinematics, OutOfReachError
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.observe import policy_images
from swiftvla_ros.sim.scene import TABLE, Scene
from swiftvla_ros.sim.tasks.registry import (
    STANDARD_TASKS,
    STANDARD_VERBS,
    definition_of,
    phrase,
    scene_for,
    tasks_of,
    watch,
)
from swiftvla_ros.sim.tasks.watcher import TaskResult, TaskWatcher
from swiftvla_ros.sim.varied_world import VariedWorld
from swiftvla_ros.sim.world import SimWorld

SETTINGS = "collection.json"
"""The file that says what a folder of demonstrations was recorded with."""

STAY_S = 0.5
"""How long an episode goes on after success, with the hand at rest: the policy has to learn to stay, too."""
_ATTEMPTS = 5
_DISTURBED_START = 0.5
_BUMPED = 0.5
_PRELUDE_STEPS = (3, 9)
_PILOT_S = (0.3, 3.5)
# Four of five flights are for another task, until it is told better: not for so long that it holds another block.
_CHANGED_MIND = 0.8
_BEFORE_CHANGE_S = (0.2, 1.6)
_PILOT_LATENCY_S = 0.05
# Fewer looks than a live run has: they are what costs time, and the states visited are much the same.
_PILOT_PERIOD_S = 0.2


@dataclass(frozen=True)
class ShownLayout:
    """One arrangement of the blocks, and the episodes that show each task on it: what is recorded together."""

    number: int
    # Numbers of its episodes, each the number of a file.
    episodes: tuple[int, ...]


@dataclass(frozen=True)
class Tries:
    """What recording took: episodes that succeeded, and all tries."""

    recorded: int
    attempts: int


@dataclass(frozen=True)
class Collection:
    """What is recorded, in plain values that go to other processes."""

    out: Path
    seed: int
    contract: Path  # the robot's contract file
    verbs: tuple[str, ...]
    scene: str  # name of the scenes' variant
    pilot: Path | None  # a checkpoint that drives first
    varied: bool = False  # scenes that don't look alike

    def file(self, episode: int) -> Path:
        """Say where an episode lies."""
        return self.out / f"episode_{episode:06d}.safetensors"


def collection_work(collection: Collection, episodes: int) -> Work[ShownLayout, Tries]:
    """Describe ``episodes`` successful demonstrations in all; those in the folder already are kept.

    Every layout is shown for each task, so that nothing but the instruction tells them apart. In half of the episodes
    the arm does not start at rest: it is in a random pose, or under way to another block when it is told better. In
    half, something bumps the arm; those steps are recorded with ``expert`` false. The same seed gives the same
    episodes, whoever records which of them.

    ``varied`` scenes have light, tables, distractors and a place of the front camera of their own.

    With a ``pilot``, its policy drives the first seconds of every episode, and the recording starts where the expert
    takes over. So the policy is shown the way out of the situations that it gets itself into (as in DAgger: S. Ross et
    al., AISTATS 2011). In most of them it was told another task until then, so it is shown what a change of mind in
    motion asks for, too.
    """
    count = len(tasks_of(collection.verbs))
    layouts = [
        ShownLayout(first // count, tuple(range(first, min(first + count, episodes))))
        for first in range(0, episodes, count)
    ]
    return Work(
        "recording",
        layouts,
        partial(_record_layout, collection),
        files=lambda layout: [collection.file(episode) for episode in layout.episodes],
        size=lambda layout: len(layout.episodes),
        unit="episodes",
    )


@dataclass(frozen=True)
class CollectReport:
    """What :func:`collect` did."""

    episodes: int  # in the folder now
    recorded: int  # recorded now
    attempts: int  # tries that those took
    seconds: float
    problem: str  # what couldn't be recorded, and why; empty where all was


def collect(
    out_dir: Path,
    episodes: int,
    *,
    runner: Runner,
    seed: int,
    contract: Contract,
    pilot: Path | None = None,
    verbs: tuple[str, ...] = STANDARD_VERBS,
    scene: str | None = None,
    varied: bool = False,
) -> CollectReport:
    """Record the runner's part of :func:`collection_work`.

    ``collection.json`` says what the folder's episodes were recorded with; SettingsError where they are others.
    """
    begin = time.monotonic()
    collection = Collection(out_dir, seed, contract.path, verbs, scene_for(verbs, scene).name, pilot, varied)
    work = collection_work(collection, episodes)
    claim(
        out_dir / SETTINGS,
        {
            "seed": seed,
            "tasks": verbs,
            "scene": collection.scene,
            "contract_sha256": digest_of(contract),
            "pilot_sha256": None if pilot is None else open_checkpoint(pilot).sha256,
            **({"varied": True} if varied else {}),  # not in folders of before
        },
    )
    done = runner.run(work)
    recorded, attempts = sum(tries.recorded for tries in done.results), sum(tries.attempts for tries in done.results)
    there = len(list(out_dir.glob("episode_*.safetensors")))
    return CollectReport(there, recorded, attempts, time.monotonic() - begin, done.problem)


class Recorder:
    """Records one worker's episodes: a world and an expert that are used again and again."""

    def __init__(
        self,
        contract: Contract,
        pilot: Policy | None = None,
        tasks: tuple[Task, ...] = STANDARD_TASKS,
        scene: Scene = TABLE,
        *,
        varied: bool = False,
    ) -> None:
        self.contract = contract
        self._tasks = tasks
        self._pilot = pilot
        self.world: SimWorld = (VariedWorld if varied else SimWorld)(contract, scene=scene)
        self.expert = Expert(contract)
        self._kinematics = InverseKinematics(contract)
        self._ticks = round(contract.policy.step_s / TICK_S)

    def close(self) -> None:
        """Free the world's renderers."""
        self.world.close()

    def record(self, task: Task, layout_seed: int, rng: np.random.Generator) -> Episode | None:
        """Show ``task`` once on the scene of ``layout_seed``; None when it did not succeed."""
        try:
            return self._record(task, layout_seed, rng)
        except OutOfReachError:
            return None  # a block was knocked away

    def _record(self, task: Task, layout_seed: int, rng: np.random.Generator) -> Episode | None:
        start, watcher = self._start(task, layout_seed, rng)
        definition = definition_of(task.verb)
        bump = sample_bump(rng, definition.latest_bump_s) if rng.random() < _BUMPED else None
        origin: NDArray[np.float64] | None = None
        begin, blocks = self.world.time_s, self.world.block_positions()
        images: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in self.contract.camera_names}
        states, actions, expert, stamps = [], [], [], []
        done_s: float | None = None
        tick = 0
        while done_s is None or self.world.time_s - done_s < STAY_S:
            now = self.world.time_s - begin
            bumped = bump is not None and bump.start_s <= now < bump.start_s + BUMP_S
            if bump is not None and bumped:
                origin = self.world.commanded() if origin is None else origin
                command = bump.command(origin, now - bump.start_s + TICK_S)
                self.expert.start(task, command)
            else:
                command = self.expert.tick(self.world)
            self.world.command(command)
            if tick % self._ticks == 0:
                for name, image in policy_images(self.world).items():
                    images[name].append(image)
                states.append(self.world.state())
                actions.append(self.world.commanded())
                expert.append(not bumped)
                stamps.append(now)
            self.world.advance(TICK_S)
            tick += 1
            result = watcher.update(TICK_S)
            if result is TaskResult.WRONG_BLOCK or (result is TaskResult.PENDING and now > definition.timeout_s):
                return None
            if result is TaskResult.DONE and done_s is None:
                done_s = self.world.time_s
        target = blocks[COLORS.index(task.color)]
        return Episode(
            instruction=phrase(task, rng),
            images={name: np.stack(stack) for name, stack in images.items()},
            state=np.stack(states).astype(np.float32),
            action=np.stack(actions).astype(np.float32),
            expert=np.array(expert),
            stamps_s=np.array(stamps),
            metadata={
                "verb": task.verb,
                "color": task.color,
                "seed": layout_seed,
                "success": True,
                "start": start,
                "bump": bump is not None,
                "block_positions": blocks.tolist(),
                "target_uv": self.world.contract.project("front", target).tolist(),
                **({"where": task.where} if task.where else {}),
                **self._front_pose(),
                **self.world.scene.metadata(self.world.setup),
            },
        )

    def _front_pose(self) -> dict[str, Any]:
        """Where the front camera stands, if not where the contract says: labels are computed from it."""
        pose = self.world.setup.front_pose
        if pose is None or pose == self.contract.camera("front").pose:
            return {}
        return {"front_pose": pose.model_dump(mode="json")}

    def _start(self, task: Task, layout_seed: int, rng: np.random.Generator) -> tuple[str, TaskWatcher]:
        """Reset the world and bring the arm to where the demonstration starts; returns how, and the task's watcher."""
        world, expert = self.world, self.expert
        rest = self.contract.rest + rng.normal(0, 0.02, len(self.contract.joints))
        disturbed, posed = rng.random() < _DISTURBED_START, rng.random() < 0.5
        posed_arm = self._pilot is None and disturbed and posed
        arm = sample_arm(self.contract, self._kinematics, rng, world.scene.hover_m) if posed_arm else rest
        world.reset(layout_seed, arm=arm)
        watcher = watch(world, task)
        expert.start(task, world.commanded())
        if self._pilot is not None:
            changed = rng.random() < _CHANGED_MIND
            others = [other for other in self._tasks if other != task]
            told = others[int(rng.integers(len(others)))] if changed else task
            self._fly(self._pilot, task, told, rng.uniform(*(_BEFORE_CHANGE_S if changed else _PILOT_S)), rng)
            # What was done for other words before is no mistake.
            return ("change of mind", watch(world, task)) if changed else ("policy", watcher)
        if not disturbed:
            return "rest", watcher
        if posed:
            return "random pose", watcher
        others = [other for other in self._tasks if other.color != task.color]
        expert.change_task(others[int(rng.integers(len(others)))])
        for _ in range(int(rng.integers(*_PRELUDE_STEPS)) * self._ticks):
            world.command(expert.tick(world))
            world.advance(TICK_S)
        expert.change_task(task)
        return "other block", watcher

    def _fly(self, pilot: Policy, task: Task, told: Task, seconds: float, rng: np.random.Generator) -> None:
        """Let the policy try what it is told for a while; the expert takes over from its motion, for ``task``."""
        driver = PolicyDriver(pilot, self.world, phrase(told, rng), _PILOT_LATENCY_S, _PILOT_PERIOD_S)
        for _ in range(round(seconds / driver.tick_s)):
            driver.tick()
        if driver.command is not None:
            motion = driver.command
            self.expert.start(task, motion.position, motion.velocity, motion.acceleration)


def _record_layout(collection: Collection, layout: ShownLayout) -> Tries:
    """Record those episodes of one layout that are not there."""
    contract = load_contract(collection.contract)
    tasks = tasks_of(collection.verbs)
    pilot = None if collection.pilot is None else _loaded(collection.pilot, collection.contract)
    layout_seed = int(np.random.default_rng([collection.seed, layout.number]).integers(2**62))
    recorded = attempts = 0
    scene = scene_for(collection.verbs, collection.scene)
    with closing(Recorder(contract, pilot, tasks, scene, varied=collection.varied)) as recorder:
        for number in layout.episodes:
            path = collection.file(number)
            if path.exists():
                continue
            for attempt in range(_ATTEMPTS):
                attempts += 1
                rng = np.random.default_rng([collection.seed, number, attempt])
                episode = recorder.record(tasks[number % len(tasks)], layout_seed, rng)
                if episode is not None:
                    save_episode(path, episode, contract)
                    recorded += 1
                    break
    return Tries(recorded, attempts)


@lru_cache(maxsize=1)
def _loaded(pilot: Path, contract_path: Path) -> Policy:
    """A process loads its pilot once."""
    return load_policy(pilot, contract=load_contract(contract_path), threads=1)
