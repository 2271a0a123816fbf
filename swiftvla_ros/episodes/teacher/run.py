# SPDX-License-Identifier: Apache-2.0
"""Runs the geometry transformer over recorded episodes, many of them side by side, and stores their targets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.episodes.datasets.sources import EpisodeHandle, open_episodes
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError
from swiftvla_ros.episodes.teacher.stream import geometry_sha256, stack_views, view_order
from swiftvla_ros.episodes.teacher.targets import (
    EpisodeTargets,
    TargetsConfig,
    TargetsError,
    check_room,
    prepare,
    write_shard,
)

if TYPE_CHECKING:
    from swiftvla_ros.geometry.feature_stream import FeatureStream, Precision

# Stamps further apart than this many steps have a gap between them.
_GAP_STEPS = 1.5


_Result = TypeVar("_Result")


@dataclass(frozen=True)
class TeacherRun:
    """What to compute, in plain values that go to worker processes."""

    episodes: Path  # folder of episodes
    out: Path  # folder of the targets
    geometry: Path  # the geometry checkpoint
    contract: Path  # the robot's contract file
    front: str  # the camera whose features are stored
    cache_steps: tuple[int, ...]  # window lengths K
    batch: int  # episodes that run side by side, and make up one shard
    device: str  # cpu or cuda
    precision: Precision  # what the transformer computes in
    namespace: str | None = None  # the robot's, in bags of several
    instruction: str = ""  # what was done in bags that a person drove


@dataclass(frozen=True)
class Plan:
    """What a run will do: ``groups`` of episode names, ``steps`` in them, and the bytes needed and free.

    ``finished`` episodes have their targets already; ``left_out`` says what of the folder is no episode, and why.
    """

    groups: list[tuple[str, ...]]
    steps: int
    needed_bytes: int
    free_bytes: int
    finished: int
    # A line for each episode that can't be used.
    left_out: list[str]


def plan(run: TeacherRun, part: tuple[int, int] = (1, 1)) -> Plan:
    """Prepare the folder and share the episodes without targets out to groups.

    ``part`` (i, n): this run does the i-th of n parts of the episodes, 1 ≤ i ≤ n.

    Raises
    ------
    EpisodeError, TargetsError, ViewError, GeometryCheckpointError
        Episodes, folder, camera or checkpoint can't be used, or the disk is too small.
    """
    contract = load_contract(run.contract)
    _, config = _load(run, contract)
    left_out: list[str] = []
    listed = open_episodes(run.episodes, contract, left_out, namespace=run.namespace, instruction=run.instruction)
    handles = listed[part[0] - 1 :: part[1]]
    finished = prepare(run.out, config)
    counted = [(_unless_odd(handle.steps, left_out), handle.name) for handle in handles if handle.name not in finished]
    pending = [(steps, name) for steps, name in counted if steps is not None]
    steps = sum(count for count, _ in pending)
    free = check_room(run.out, steps * config.row_bytes())
    # Episodes of like length side by side: a batch runs until its longest has ended.
    pending.sort()
    names = [name for _, name in pending]
    groups = [tuple(names[i : i + run.batch]) for i in range(0, len(names), run.batch)]
    done = sum(handle.name in finished for handle in handles)
    return Plan(groups, steps, steps * config.row_bytes(), free, done, left_out)


def compute_shard(run: TeacherRun, names: Sequence[str]) -> int:
    """Compute and store the targets of some episodes; returns how many steps they have. Runs in any process."""
    handles, contract = _episodes(run.episodes, run.contract, run.namespace, run.instruction)
    stream, config = _load(run, contract)
    left_out: list[str] = []
    loaded = {name: _unless_odd(handles[name].load, left_out) for name in names}
    episodes = {name: episode for name, episode in loaded.items() if episode is not None}
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)  # seen only now, since its pictures are
    if not episodes:
        return 0
    for name, episode in episodes.items():
        if (np.diff(episode.stamps_s) <= 0).any():
            raise TargetsError(f"{run.episodes}: episode '{name}' has stamps that don't grow; record it again")
    features = stream_episodes(stream, list(episodes.values()), config.views, contract, run.cache_steps)
    targets = [EpisodeTargets(n, e.stamps_s, f) for (n, e), f in zip(episodes.items(), features, strict=True)]
    write_shard(run.out, config, targets)
    return sum(len(episode.stamps_s) for episode in episodes.values())


def _unless_odd(read: Callable[[], _Result], left_out: list[str]) -> _Result | None:
    """What one episode gives; one that can't be used is named, and doesn't cost the others."""
    try:
        return read()
    except EpisodeError as error:
        left_out.append(str(error))
        return None


def stream_episodes(
    stream: FeatureStream,
    episodes: Sequence[Episode],
    views: tuple[str, ...],
    contract: Contract,
    cache_steps: tuple[int, ...],
) -> list[dict[int, np.ndarray]]:
    """Run episodes side by side: for each, K → float16 [T, tokens, dim].

    Where steps are missing in an episode the transformer forgets what it saw: it was trained on even steps.
    """
    out = [
        {k: np.empty((len(e.stamps_s), stream.tokens, stream.dim), np.float16) for k in cache_steps} for e in episodes
    ]
    runs = [(b, begin, end) for b, e in enumerate(episodes) for begin, end in even_runs(e.stamps_s)]
    stream.start(len(runs), cache_steps)
    for t in range(max(end - begin for _, begin, end in runs)):
        # One that has ended shows its last step on; rows don't affect each other.
        now = [
            {name: images[min(begin + t, end - 1)] for name, images in episodes[b].images.items()}
            for b, begin, end in runs
        ]
        features = stream.step(stack_views(now, views, contract, stream.image_size))
        for row, (b, begin, end) in enumerate(runs):
            if begin + t < end:
                for i, k in enumerate(cache_steps):
                    out[b][k][begin + t] = features[row, i]
    return out


def even_runs(stamps_s: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Split an episode where steps are missing: (begin, end) of each run of steps without a gap."""
    steps_s = np.diff(stamps_s)
    cuts = np.flatnonzero(steps_s > _GAP_STEPS * np.median(steps_s)) + 1 if len(steps_s) else np.zeros(0, np.int64)
    edges = [0, *cuts.tolist(), len(stamps_s)]
    return list(pairwise(edges))


@lru_cache(maxsize=1)
def _episodes(
    folder: Path, contract_path: Path, namespace: str | None, instruction: str
) -> tuple[dict[str, EpisodeHandle], Contract]:
    """A process lists the folder once."""
    contract = load_contract(contract_path)
    handles = open_episodes(folder, contract, namespace=namespace, instruction=instruction)
    return {handle.name: handle for handle in handles}, contract


def _load(run: TeacherRun, contract: Contract) -> tuple[FeatureStream, TargetsConfig]:
    """The transformer, and what decides the numbers that it gives."""
    stream = _stream(run.geometry, run.device, run.precision)
    views, sha256 = view_order(contract, run.front), _sha256(run.geometry)
    return stream, TargetsConfig(sha256, run.cache_steps, views, stream.tokens, stream.dim, run.precision)


@lru_cache(maxsize=1)
def _stream(geometry: Path, device: str, precision: Precision) -> FeatureStream:
    """A process loads the network once."""
    from swiftvla_ros.geometry.feature_stream import FeatureStream

    return FeatureStream(geometry, device=device, precision=precision)


_sha256 = lru_cache(maxsize=1)(geometry_sha256)
