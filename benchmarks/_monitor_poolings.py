# SPDX-License-Identifier: Apache-2.0
"""What a camera's picture could be compared by, each with bounds of its own from the same demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from _monitor_runs import poolings
from _monitor_tables import Recorded, detect, pooled, verdicts
from _monitor_worlds import KINDS
from swiftvla_ros.cli.output import print_table
from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.action_coding import RELATIVE, ActionCoding
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.datasets.store import Episode
from swiftvla_ros.monitoring.calibration import FalseAlarms, calibrate
from swiftvla_ros.monitoring.envelope import Envelope, Looks
from swiftvla_ros.monitoring.principal import PrincipalDirections
from swiftvla_ros.policy import CheckpointPolicy, Observation

Array = NDArray[np.float64]

# Every so manyth demonstration: as many as an envelope is fitted on.
_EVERY = 2
_KEPT, _DIRECTIONS = 500, 32


@dataclass(frozen=True)
class Nearest:
    """A cloud as some of its vectors [n, K], along its first directions and divided by their spread."""

    centre: Array
    directions: Array
    spread: Array
    vectors: Array

    @classmethod
    def of(cls, cloud: NDArray[np.floating]) -> Nearest:
        """Keep vectors of a cloud [N, D], drawn evenly."""
        all_of_it = PrincipalDirections.of(cloud)
        directions, spread = all_of_it.directions[:_DIRECTIONS], all_of_it.spread[:_DIRECTIONS]
        kept = cloud[np.linspace(0, len(cloud) - 1, _KEPT).astype(int)]
        return cls(all_of_it.centre, directions, spread, (kept - all_of_it.centre) @ directions.T / spread)

    def distance(self, vectors: NDArray[np.floating]) -> Array:
        """How far each vector [N, D] is from the nearest one."""
        along = (vectors - self.centre) @ self.directions.T / self.spread
        return np.asarray([np.sqrt(((self.vectors - one) ** 2).sum(axis=1).min()) for one in along])


# By which features, and how far they are from what is usual.
_WAYS = {
    "mean": ("mean", PrincipalDirections),
    "mean and std": ("mean+std", PrincipalDirections),
    "quarters": ("quarters", PrincipalDirections),
    "mean, nearest of 500": ("mean", Nearest),
}


def compare_poolings(
    recorded: Sequence[Recorded],
    policy: CheckpointPolicy,
    envelope: Envelope,
    contract: Contract,
    demonstrations: Path,
) -> None:
    """Print detection by kind for each way of comparing, with clouds and bounds fitted alike."""
    runs = [_shown(policy, handle.load(), contract) for handle in open_episodes(demonstrations, contract)[::_EVERY]]
    half = len(runs) // 2
    rows = []
    for pooling, cloud in _WAYS.values():
        shown = [(looks, pooled(features, pooling)) for looks, features in runs]
        clouds = tuple(cloud.of(np.concatenate([f[:, i] for _, f in shown[:half]])) for i in range(2))
        fitted = replace(envelope, cameras=clouds)
        least = np.tile([[0.05], [0.1]], (1, len(fitted.parts)))
        held_out = [fitted.distances(Looks(looks.states, looks.motions, features)) for looks, features in shown[half:]]
        bounds = calibrate(held_out, policy.step_s, least, alarms=FalseAlarms())
        fitted = replace(fitted, bounds=bounds)
        found = detect(recorded, [verdicts(episode, fitted, contract, pooling) for episode in recorded])
        rows.append([f"{d.slowed.count}/{d.slowed.total}" for d in found])
    columns = [(kind, *(row[i] for row in rows)) for i, kind in enumerate(KINDS)]
    print_table(("slowed or held", *_WAYS), columns)


def _shown(policy: CheckpointPolicy, episode: Episode, contract: Contract) -> tuple[Looks, dict[str, Array]]:
    """The policy's looks of a demonstration, and its features in all poolings."""
    coding, wanted_rows, found = ActionCoding.of(contract, RELATIVE), [], []
    states = episode.state.astype(np.float64)
    for t, state in enumerate(states):
        images = {name: episode.images[name][t] for name in policy.camera_names}
        wanted_rows.append(policy.infer(Observation(images, state, episode.instruction)))
        found.append(poolings(policy.vision_tokens() or ()))
    features = {name: np.stack([entry[name] for entry in found]) for name in found[0]}
    return Looks(states, coding.encode(np.stack(wanted_rows), states), None), features
