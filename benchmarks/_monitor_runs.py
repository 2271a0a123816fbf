# SPDX-License-Identifier: Apache-2.0
"""Episodes of a policy in simulation with everything that a monitor would have been told, and what the hand hit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _monitor_worlds import HIT, KINDS, ODD_WORDS, ShiftedWorld, onset_s
from swiftvla_ros.contract import Contract
from swiftvla_ros.files import whole_file
from swiftvla_ros.policy import CheckpointPolicy, Observation, Policy
from swiftvla_ros.sim.evaluation.first_step import task_of_episode
from swiftvla_ros.sim.evaluation.policy_driver import PolicyDriver
from swiftvla_ros.sim.tasks.registry import phrase, watch
from swiftvla_ros.sim.tasks.watcher import TaskResult

Array = NDArray[np.float64]

# As fast as the live policy node looks (max_rate_hz 10), and as long as a chunk takes it.
PERIOD_S, LATENCY_S = 0.1, 0.05
TIMEOUT_S, LEAST_S = 8.0, 3.0
SAMPLE_EVERY = 3
_WATCH_TICKS = 2
# How far outside the training states' range a joint starts: shares of the range's width.
_OUTSIDE = (0.15, 0.5)


@dataclass
class Seen:
    """What one chunk's monitors are told."""

    time_s: float
    state: Array
    rows: Array
    tokens: tuple[NDArray[np.float32], ...]
    sample: Array | None


@dataclass
class Episode:
    """What happened: one look each ``PERIOD_S``, and forces a tick."""

    kind: str
    seed: int
    onset_s: float
    verdict: str = "PENDING"
    seconds: float = 0.0
    looks: list[Seen] = field(default_factory=list)
    forces: list[Array] = field(default_factory=list)
    tick_s: float = 0.01


class Listening(Policy):
    """The policy, whose every chunk is told to ``tell``."""

    def __init__(self, policy: CheckpointPolicy, tell: Callable[[Observation, Array, Array | None], None]) -> None:
        self._policy, self._tell, self._count = policy, tell, 0
        self.step_s, self.max_executed_rows = policy.step_s, policy.max_executed_rows

    def infer(self, observation: Observation, **given: Any) -> Array:
        """The policy's chunk; each third time another sample of the same observation, too."""
        rows, sample = self._policy.infer(observation, **given), None
        tokens = self._policy.vision_tokens()
        if self._count % SAMPLE_EVERY == 0:
            sample = self._policy.infer(observation, noise=self._policy.sample_noise(1 + self._count, scale=1.0))
        self._count += 1
        self.tokens = tokens or ()
        self._tell(observation, rows, sample)
        return rows


def run_episode(
    policy: CheckpointPolicy,
    world: ShiftedWorld,
    kind_name: str,
    seed: int,
    state_range: tuple[Array, Array],
    on_tick: Callable[[PolicyDriver, ShiftedWorld, Episode], None] = lambda *_: None,
) -> Episode:
    """One episode of a kind in the scene of a seed, in a ``world`` with the kind's scene.

    ``state_range`` [J] is where training's joints were; ``on_tick`` is called after each tick.
    """
    kind, contract = KINDS[kind_name], world.nominal_contract
    rng = np.random.default_rng([seed, 77])
    episode = Episode(kind_name, seed, onset_s(kind, rng))
    task = task_of_episode(seed)
    world.begin(seed, _odd_pose(contract, state_range, rng) if kind.odd_pose else None)
    words = ODD_WORDS[int(rng.integers(len(ODD_WORDS)))] if kind.odd_words else phrase(task, rng)
    watcher = watch(world, task)

    def tell(observation: Observation, rows: Array, sample: Array | None) -> None:
        episode.looks.append(Seen(world.time_s, observation.state, rows, listening.tokens, sample))

    listening = Listening(policy, tell)
    driver = PolicyDriver(listening, world, words, LATENCY_S, PERIOD_S)
    shifted, ticks, end = False, 0, TIMEOUT_S
    while ticks * driver.tick_s < end:
        if not shifted and world.time_s >= episode.onset_s:
            kind.shift(world, rng)
            shifted = True
        driver.tick()
        ticks += 1
        episode.forces.append(world.forces(task.color))
        if ticks % _WATCH_TICKS == 0 and watcher.result is TaskResult.PENDING:
            watcher.update(_WATCH_TICKS * driver.tick_s)
            if watcher.result is not TaskResult.PENDING:
                end = min(end, max(LEAST_S, ticks * driver.tick_s))
                episode.seconds = ticks * driver.tick_s
        on_tick(driver, world, episode)
    episode.verdict = watcher.result.name
    episode.seconds = episode.seconds or ticks * driver.tick_s
    episode.tick_s = driver.tick_s
    return episode


def _odd_pose(contract: Contract, state_range: tuple[Array, Array], rng: np.random.Generator) -> Array:
    """A pose with one or two joints outside of training's range, the hand well above the table."""
    low, high = state_range
    for _ in range(1000):
        pose = contract.rest.copy()
        for joint in rng.permutation(5)[: int(rng.integers(1, 3))]:
            out = rng.uniform(*_OUTSIDE) * (high[joint] - low[joint])
            pose[joint] = high[joint] + out if rng.random() < 0.5 else low[joint] - out
        pose = np.clip(pose, contract.limits.min_position + 0.02, contract.limits.max_position - 0.02)
        outside = np.maximum(low - pose, pose - high) / (high - low)
        x, _y, z = contract.end_effector_position(pose)
        if outside.max() > _OUTSIDE[0] / 2 and z > 0.06 and x > 0.05:
            return pose
    raise RuntimeError("no pose outside of training's range was found")


def _quarters(tokens: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The tokens [p, d] of the image's quarters, each [h, w, d], row by row."""
    side = int(len(tokens) ** 0.5)
    square, half = tokens[: side * side].reshape(side, side, -1), (side + 1) // 2
    return [square[i : i + half, j : j + half] for i in (0, side - half) for j in (0, side - half)]


def poolings(tokens: Iterable[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """The candidates for what is published, [cams, D] each, from the tokens [p, d] of each camera."""
    cameras = [np.asarray(camera, np.float32) for camera in tokens]
    return {
        "mean": np.stack([camera.mean(0) for camera in cameras]),
        "std": np.stack([camera.std(0) for camera in cameras]),
        "quarters": np.stack([np.concatenate([q.mean((0, 1)) for q in _quarters(camera)]) for camera in cameras]),
    }


def save(episode: Episode, path: Path) -> None:
    """Write an episode, whole or not at all."""
    looks = episode.looks
    samples = [i for i, look in enumerate(looks) if look.sample is not None]
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            kind=episode.kind,
            seed=episode.seed,
            onset_s=episode.onset_s,
            verdict=episode.verdict,
            seconds=episode.seconds,
            tick_s=episode.tick_s,
            forces=np.array(episode.forces, np.float32).reshape(-1, len(HIT)),
            time_s=np.array([look.time_s for look in looks]),
            state=np.array([look.state for look in looks]),
            rows=np.array([look.rows for look in looks]),
            sampled=np.array(samples, np.int64),
            samples=np.array([looks[i].sample for i in samples]),
            tokens=np.array([look.tokens for look in looks], np.float16),
        )
