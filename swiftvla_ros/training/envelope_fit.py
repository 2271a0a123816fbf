# SPDX-License-Identifier: Apache-2.0
"""The envelope of a trained checkpoint: what its training data looks like to it, with bounds from held-out runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.action_coding import RELATIVE, ActionCoding
from swiftvla_ros.episodes.datasets.sources import EpisodeHandle
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError
from swiftvla_ros.monitoring.calibration import LEAST_RUNS, AlarmBounds, FalseAlarms, calibrate
from swiftvla_ros.monitoring.envelope import Envelope, EnvelopeError, Looks, TrainedRange
from swiftvla_ros.monitoring.envelope_file import write_envelope
from swiftvla_ros.monitoring.principal import PrincipalDirections
from swiftvla_ros.policy import CheckpointPolicy, Observation

Array = NDArray[np.float64]

# Runs whose looks calibrate the bounds, of all.
_HELD_OUT = 0.5
# More looks tell little more, and each costs an inference.
MOST_LOOKS = 6_000
# The least distances that slow and hold: shares of a joint's range, and what is usual for a cloud.
_LEAST_JOINT, _LEAST_CLOUD = (0.05, 0.10), (1.5, 2.0)


@dataclass(frozen=True)
class _Run:
    """One episode: what was shown, and what the policy makes of it."""

    shown: Looks
    wanted: Array  # the policy's chunks relative to the state [T, H, J]


def fit_envelope(
    policy: CheckpointPolicy,
    folder: Path,
    episodes: Sequence[EpisodeHandle],
    contract: Contract,
    made_from: str,
    *,
    alarms: FalseAlarms | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Envelope:
    """Fit an envelope and write it beside the checkpoint in ``folder``.

    Half of the episodes are what is usual; with the policy's chunks on the other half the bounds are set. ``progress``
    is told how many of how many episodes are done.

    Raises
    ------
    EnvelopeError
        There are too few episodes that can be read.
    """
    if contract.hand is not None:
        raise EnvelopeError(f"{contract.path}: its policy commands no joints, and a monitor watches those")
    alarms, chosen = alarms or FalseAlarms(), _chosen(episodes)
    cut = round(len(chosen) * (1 - _HELD_OUT))
    if cut < LEAST_RUNS or len(chosen) - cut < LEAST_RUNS:
        raise EnvelopeError(
            f"an envelope needs {2 * LEAST_RUNS} episodes at least, half of them for its bounds; {len(chosen)} are here"
        )
    runs = []
    for number, handle in enumerate(chosen):
        runs.append(_run(policy, handle.load(), contract))
        progress(number + 1, len(chosen))
    fitted, held_out = runs[:cut], runs[cut:]
    shown = [run.shown for run in fitted]
    features = [look.features for look in shown if look.features is not None]
    clouds = np.concatenate(features) if len(features) == len(shown) else None
    states = np.concatenate([look.states for look in shown])
    motions = np.concatenate([look.motions for look in shown])
    nothing = np.zeros(0)
    envelope = Envelope(
        policy.checkpoint_sha256,
        contract.joint_names,
        policy.camera_names if clouds is not None else (),
        TrainedRange.of(states),
        TrainedRange.of(motions),
        PrincipalDirections.of(states),
        PrincipalDirections.of(motions.reshape(len(motions), -1)),
        () if clouds is None else tuple(PrincipalDirections.of(clouds[:, camera]) for camera in range(clouds.shape[1])),
        AlarmBounds(nothing, nothing, alarms, 0, 0.0),
    )
    least = np.array([[_least(part, i) for part in envelope.parts] for i in range(2)])
    distances = [envelope.distances(Looks(run.shown.states, run.wanted, run.shown.features)) for run in held_out]
    bounds = calibrate(distances, policy.step_s, least, alarms=alarms)
    envelope = replace(envelope, bounds=bounds)
    write_envelope(folder, envelope, f"{made_from}, {len(chosen)} episodes, {sum(len(r.shown) for r in runs)} looks")
    return envelope


def _least(part: str, bound: int) -> float:
    return (_LEAST_JOINT if part.startswith(("state ", "motion ")) else _LEAST_CLOUD)[bound]


def _chosen(episodes: Sequence[EpisodeHandle]) -> list[EpisodeHandle]:
    """Episodes that can be read, evenly from all, of no more than :data:`MOST_LOOKS` looks."""
    steps = {}
    for handle in episodes:
        try:
            steps[handle.name] = handle.steps()
        except EpisodeError:  # noqa: PERF203  (training has named it)
            continue
    usable = [handle for handle in episodes if handle.name in steps]
    count = max(1, min(len(usable), round(MOST_LOOKS / max(1.0, float(np.mean(list(steps.values()) or [1]))))))
    return [usable[int(i)] for i in np.linspace(0, len(usable) - 1, count)] if usable else []


def _run(policy: CheckpointPolicy, episode: Episode, contract: Contract) -> _Run:
    coding = ActionCoding.of(contract, RELATIVE)
    states = episode.state.astype(np.float64)
    wanted, features = [], []
    for t, state in enumerate(states):
        images = {name: episode.images[name][t] for name in policy.camera_names}
        wanted.append(policy.infer(Observation(images, state, episode.instruction)))
        features.append(policy.vision_features())
    rows = np.minimum(np.arange(len(states))[:, None] + np.arange(policy.horizon), len(states) - 1)
    # Rows that a disturbance commanded are no motion that anybody wanted.
    good = episode.expert[rows].all(axis=1)
    good = good if good.any() else np.ones(len(states), bool)
    shown = coding.encode(episode.action[rows].astype(np.float64), states)
    known = [feature for feature in features if feature is not None]
    vision = np.stack(known) if len(known) == len(states) else None
    # Where no chunk counts, the nearest that does stands in: every look has one.
    nearest = np.flatnonzero(good)[np.abs(np.flatnonzero(good)[None] - np.arange(len(states))[:, None]).argmin(axis=1)]
    return _Run(Looks(states, shown[nearest], vision), coding.encode(np.stack(wanted), states))
