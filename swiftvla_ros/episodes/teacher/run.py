# SPDX-License-Identifier: Apache-2.0
"""Runs the geometry transformer over recorded episodes, many of them side by side, and stores their targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.cluster.work import WHOLE, Shard, Work
from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.finder import EpisodeFolder
from swiftvla_ros.episodes.datasets.sources import EpisodeHandle, open_episodes
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError
from swiftvla_ros.episodes.teacher.stream import geometry_sha256, stack_views, view_order
from swiftvla_ros.episodes.teacher.targets import (
    EpisodeTargets,
    TargetsConfig,
    TargetsError,
    check_room,
    prepare,
    shard_path,
    write_shard,
)

if TYPE_CHECKING:
    from swiftvla_ros.geometry.feature_stream import FeatureStream, GeometryPrecision

# Stamps further apart than this many steps have a gap between them.
_GAP_STEPS = 1.5
# Episodes of so many batches that follow each other in the folder are sorted by length.
_WINDOW = 16


@dataclass(frozen=True)
class TeacherRun:
    """What to compute, in plain values that go to worker processes."""

    episodes: EpisodeFolder
    out: Path  # folder of the targets
    geometry: Path  # the geometry checkpoint
    front: str  # the camera whose features are stored
    cache_steps: tuple[int, ...]  # window lengths K
    batch: int  # episodes that run side by side, and make up one shard
    device: str  # cpu or cuda
    precision: GeometryPrecision  # what the transformer computes in


@dataclass(frozen=True)
class EpisodeBatch:
    """Episodes that run side by side."""

    names: tuple[str, ...]  # those without targets
    steps: int  # of these, unless some are missing in their bags
    finished: tuple[str, ...]  # those that have theirs
    files: tuple[Path, ...]  # of all of them: shards that are there, and the one that is to be


class Computed(NamedTuple):
    """What computing a batch gave: steps, and a line for each episode that can't be used."""

    steps: int
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What a run's part will do: episodes and at most so many ``steps``, the bytes that they need and that are free.

    ``finished`` episodes of the part have their targets already; ``left_out`` says what of the folder is no episode.
    """

    work: Work[EpisodeBatch, Computed]
    episodes: int
    steps: int
    needed_bytes: int
    free_bytes: int
    finished: int
    # A line for each episode that can't be used.
    left_out: list[str]


def plan(run: TeacherRun, shard: Shard = WHOLE) -> Plan:
    """Prepare the folder, and put the episodes into batches, whichever of them are finished.

    The batches are the same in every process that begins with the same folder of episodes, so that the shards are, too.
    Episodes that are added later change the last ones only.

    Raises
    ------
    EpisodeError, TargetsError, ViewError, GeometryCheckpointError
        Episodes, folder, camera or checkpoint can't be used, or the disk is too small.
    """
    folder, left_out = run.episodes, list[str]()
    handles = open_episodes(
        folder.path, folder.contract, left_out, namespace=folder.namespace, instruction=folder.instruction
    )
    config = _config(run)
    finished = prepare(run.out, config)
    batches = []
    for first in range(0, len(handles), _WINDOW * run.batch):
        # Episodes of like length side by side: a batch runs until its longest has ended.
        near = sorted((_expected(h), h.name) for h in handles[first : first + _WINDOW * run.batch])
        batches += [_batch(run, near[i : i + run.batch], finished) for i in range(0, len(near), run.batch)]
    work = Work(
        "teacher targets",
        batches,
        partial(compute_batch, run),
        files=lambda batch: batch.files,
        size=lambda batch: batch.steps,
        unit="steps",
    )
    mine = work.items_of(shard)
    steps = sum(batch.steps for batch in mine)
    return Plan(
        work,
        sum(len(batch.names) for batch in mine),
        steps,
        steps * config.row_bytes(),
        check_room(run.out, steps * config.row_bytes()),
        sum(len(batch.finished) for batch in mine),
        left_out,
    )


def _expected(handle: EpisodeHandle) -> int:
    """Its steps; of one that can't be read none: who computes its batch says why."""
    try:
        return handle.expected_steps()
    except EpisodeError:
        return 0


def _batch(run: TeacherRun, episodes: Sequence[tuple[int, str]], finished: dict[str, Path]) -> EpisodeBatch:
    names = tuple(name for _, name in episodes if name not in finished)
    there = tuple(name for _, name in episodes if name in finished)
    files = {finished[name] for name in there} | {shard_path(run.out, name) for name in names[:1]}
    return EpisodeBatch(
        names, sum(steps for steps, name in episodes if name not in finished), there, tuple(sorted(files))
    )


def compute_batch(run: TeacherRun, batch: EpisodeBatch) -> Computed:
    """Compute and store the targets of a batch's episodes that have none. Runs in any process."""
    stream, config = _stream(run.geometry, run.device, run.precision), _config(run)
    left_out: list[str] = []
    loaded = {handle.name: _unless_odd(handle, left_out) for handle in run.episodes.find(batch.names)}
    episodes = {name: episode for name, episode in loaded.items() if episode is not None}
    for name, episode in episodes.items():
        if (np.diff(episode.stamps_s) <= 0).any():
            raise TargetsError(f"{run.episodes.path}: episode '{name}' has stamps that don't grow; record it again")
    if episodes:
        contract = run.episodes.contract
        features = stream_episodes(stream, list(episodes.values()), config.views, contract, run.cache_steps)
        targets = [EpisodeTargets(n, e.stamps_s, f) for (n, e), f in zip(episodes.items(), features, strict=True)]
        write_shard(run.out, config, targets)
    return Computed(sum(len(episode.stamps_s) for episode in episodes.values()), tuple(left_out))


def _unless_odd(handle: EpisodeHandle, left_out: list[str]) -> Episode | None:
    """Load an episode; one that can't be used is named, and doesn't cost the others."""
    try:
        return handle.load()
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


def _config(run: TeacherRun) -> TargetsConfig:
    """What decides the numbers; no network is loaded for it."""
    from swiftvla_ros.geometry.checkpoint import read_config
    from swiftvla_ros.geometry.feature_stream import TOKENS

    views, dim = view_order(run.episodes.contract, run.front), read_config(run.geometry).feature_dim
    return TargetsConfig(_sha256(run.geometry), run.cache_steps, views, TOKENS, dim, run.precision)


@lru_cache(maxsize=1)
def _stream(geometry: Path, device: str, precision: GeometryPrecision) -> FeatureStream:
    """A process loads the network once."""
    from swiftvla_ros.geometry.feature_stream import FeatureStream

    return FeatureStream(geometry, device=device, precision=precision)


_sha256 = lru_cache(maxsize=1)(geometry_sha256)
