# SPDX-License-Identifier: Apache-2.0
"""Runs the geometry transformer over recorded episodes, many of them side by side, and stores their targets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.episodes.geometry_stream import stack_views, view_order
from swiftvla_ros.episodes.sources import EpisodeHandle, open_episodes
from swiftvla_ros.episodes.store import Episode
from swiftvla_ros.episodes.teacher_targets import (
    EpisodeTargets,
    TargetsConfig,
    TargetsError,
    check_room,
    prepare,
    write_shard,
)

if TYPE_CHECKING:
    from swiftvla_ros.geometry.feature_stream import FeatureStream, Precision

_CHECKPOINT_FILES = ("config.json", "model.safetensors")


@dataclass(frozen=True)
class TeacherRun:
    """What to compute, in plain values that go to worker processes.

    Attributes
    ----------
    episodes
        Folder of episodes.
    out
        Folder of the targets.
    geometry
        The geometry checkpoint.
    contract
        The robot's contract file.
    front
        The camera whose features are stored.
    cache_steps
        Window lengths K.
    batch
        Episodes that run side by side, and make up one shard.
    device
        cpu or cuda.
    precision
        What the transformer computes in.
    """

    episodes: Path
    out: Path
    geometry: Path
    contract: Path
    front: str
    cache_steps: tuple[int, ...]
    batch: int
    device: str
    precision: Precision


@dataclass(frozen=True)
class Plan:
    """What a run will do: ``groups`` of episode names, ``steps`` in them, and the bytes needed and free.

    ``finished`` episodes have their targets already.
    """

    groups: list[tuple[str, ...]]
    steps: int
    needed_bytes: int
    free_bytes: int
    finished: int


def plan(run: TeacherRun, part: tuple[int, int] = (1, 1)) -> Plan:
    """Prepare the folder and share the episodes without targets out to groups.

    Parameters
    ----------
    run
        What to compute.
    part
        (i, n): this run does the i-th of n parts of the episodes, 1 ≤ i ≤ n.

    Raises
    ------
    EpisodeError, TargetsError, ViewError, GeometryCheckpointError
        Episodes, folder, camera or checkpoint can't be used, or the disk is too small.
    """
    contract = load_contract(run.contract)
    views = view_order(contract, run.front)
    stream = _stream(run.geometry, run.device, run.precision)
    config = TargetsConfig(_sha256(run.geometry), run.cache_steps, views, stream.tokens, stream.dim, run.precision)
    handles = open_episodes(run.episodes, contract)[part[0] - 1 :: part[1]]
    finished = prepare(run.out, config)
    pending = [(handle.steps(), handle.name) for handle in handles if handle.name not in finished]
    steps = sum(count for count, _ in pending)
    free = check_room(run.out, steps * config.row_bytes())
    # Episodes of like length side by side: a batch runs until its longest has ended.
    pending.sort()
    names = [name for _, name in pending]
    groups = [tuple(names[i : i + run.batch]) for i in range(0, len(names), run.batch)]
    return Plan(groups, steps, steps * config.row_bytes(), free, len(handles) - len(pending))


def compute_shard(run: TeacherRun, names: Sequence[str]) -> int:
    """Compute and store the targets of some episodes; returns how many steps they have. Runs in any process."""
    handles, contract = _episodes(run.episodes, run.contract)
    views = view_order(contract, run.front)
    stream = _stream(run.geometry, run.device, run.precision)
    config = TargetsConfig(_sha256(run.geometry), run.cache_steps, views, stream.tokens, stream.dim, run.precision)
    episodes = {name: handles[name].load() for name in names}
    for name, episode in episodes.items():
        if (np.diff(episode.stamps_s) <= 0).any():
            raise TargetsError(f"{run.episodes}: episode '{name}' has stamps that don't grow; record it again")
    features = stream_episodes(stream, list(episodes.values()), views, contract, run.cache_steps)
    write_shard(
        run.out,
        config,
        [EpisodeTargets(n, e.stamps_s, f) for (n, e), f in zip(episodes.items(), features, strict=True)],
    )
    return sum(len(episode.stamps_s) for episode in episodes.values())


def stream_episodes(
    stream: FeatureStream,
    episodes: Sequence[Episode],
    views: tuple[str, ...],
    contract: Contract,
    cache_steps: tuple[int, ...],
) -> list[dict[int, np.ndarray]]:
    """Run episodes side by side: for each, K → float16 [T, tokens, dim]."""
    lengths = [len(episode.stamps_s) for episode in episodes]
    out = [{k: np.empty((n, stream.tokens, stream.dim), np.float16) for k in cache_steps} for n in lengths]
    stream.start(len(episodes), cache_steps)
    for t in range(max(lengths)):
        # One that has ended shows its last step on; rows don't affect each other.
        now = [
            {name: images[min(t, n - 1)] for name, images in episode.images.items()}
            for episode, n in zip(episodes, lengths, strict=True)
        ]
        features = stream.step(stack_views(now, views, contract, stream.image_size))
        for b, n in enumerate(lengths):
            if t < n:
                for i, k in enumerate(cache_steps):
                    out[b][k][t] = features[b, i]
    return out


@lru_cache(maxsize=1)
def _episodes(folder: Path, contract_path: Path) -> tuple[dict[str, EpisodeHandle], Contract]:
    """A process lists the folder once."""
    contract = load_contract(contract_path)
    return {handle.name: handle for handle in open_episodes(folder, contract)}, contract


@lru_cache(maxsize=1)
def _stream(geometry: Path, device: str, precision: Precision) -> FeatureStream:
    """A process loads the network once."""
    from swiftvla_ros.geometry.feature_stream import FeatureStream

    return FeatureStream(geometry, device=device, precision=precision)


@lru_cache(maxsize=1)
def _sha256(geometry: Path) -> str:
    digest = hashlib.sha256()
    for name in _CHECKPOINT_FILES:
        digest.update(name.encode())
        with (geometry / name).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
