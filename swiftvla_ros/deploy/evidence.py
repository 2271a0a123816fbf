# SPDX-License-Identifier: Apache-2.0
"""Observations that a deployed network is calibrated with and judged by: of the checkpoint's own robot, never random.

Random weights and random pictures misjudge a precision both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.sources import EpisodeHandle, open_episodes
from swiftvla_ros.episodes.datasets.store import Episode
from swiftvla_ros.errors import UserError
from swiftvla_ros.observation.observation import Observation

# Scenes of the simulator that no training uses: those are below 10000.
_CALIBRATION_SEED, _JUDGING_SEED = 30_000, 20_000


@dataclass(frozen=True)
class Evidence:
    """Two sets that have no scene in common."""

    calibration: list[Observation]  # for scales of quantised activations
    judging: list[Observation]  # for the gate


class NoEvidenceError(UserError, ValueError):
    """There is nothing to judge a deployment by; the message says what to name."""


def from_episodes(folder: Path, contract: Contract, count: int) -> Evidence:
    """Steps of recorded episodes, spread evenly: every other episode, or a lone one's halves, for each purpose.

    Raises
    ------
    EpisodeError
        The folder holds no episodes of this contract.
    NoEvidenceError
        It holds too few steps.
    """
    handles = open_episodes(folder, contract)
    if len(handles) > 1:
        return Evidence(_spread(handles[::2], count), _spread(handles[1::2], count))
    steps = _steps(handles[0].load(), 2 * count)
    if len(steps) < 4:
        raise NoEvidenceError(f"{folder}: holds one episode of {len(steps)} steps; name one with more")
    half = len(steps) // 2
    return Evidence(steps[:half], steps[half:])


def _spread(handles: Sequence[EpisodeHandle], count: int) -> list[Observation]:
    each = max(1, -(-count // len(handles)))
    chosen = handles[:: max(1, len(handles) // count)]
    return [step for handle in chosen for step in _steps(handle.load(), each)][:count]


def _steps(episode: Episode, count: int) -> list[Observation]:
    total = len(episode.state)
    chosen = np.unique(np.linspace(0, total - 1, min(count, total)).astype(int))
    return [
        Observation(
            {name: images[t] for name, images in episode.images.items()},
            episode.state[t].astype(float),
            episode.instruction,
        )
        for t in chosen
    ]


def from_simulation(contract: Contract, count: int) -> Evidence:
    """Fresh scenes of the simulator, before anything has moved; raises ModuleNotFoundError without MuJoCo."""
    from swiftvla_ros.sim.evaluation.first_step import first_scene, task_of_episode
    from swiftvla_ros.sim.world import SimWorld

    def scenes(world: SimWorld, seed: int) -> list[Observation]:
        found = []
        for index in range(count):
            world.reset(seed + index)
            rng = np.random.default_rng([seed + index, 4])
            found.append(first_scene(world, task_of_episode(index), rng).observation)
        return found

    with SimWorld(contract) as world:
        return Evidence(scenes(world, _CALIBRATION_SEED), scenes(world, _JUDGING_SEED))
