# SPDX-License-Identifier: Apache-2.0
"""The geometry transformer's features over recorded episodes, computed once and read in training.

A folder::

    config.json               which geometry checkpoint, which window lengths K, which views: :class:`TargetsConfig`
    shard_<name>.safetensors  tensors ``k3``, ``k4`` …: float16 [rows, tokens, dim], a row per step of its episodes;
                              the header names the episodes, so a shard tells by itself what it holds
    index.json                every episode's shard, first row and stamps

A shard appears under its name only when it is whole, so what is there is finished. Reading needs no torch.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from swiftvla_ros.errors import UserError
from swiftvla_ros.files import whole_file

CONFIG, INDEX = "config.json", "index.json"
FORMAT = "swiftvla_ros/teacher-targets/1"

# Stamps are written as JSON and read back bit by bit; what differs by more is another step.
_STAMP_TOLERANCE_S = 1e-6
# Shards kept open by a reader: each costs a file descriptor and its mapping.
_OPEN_SHARDS = 64

Features = Float16[np.ndarray, "steps tokens dim"]


class TargetsError(UserError, ValueError):
    """Teacher targets that can't be used or written; the message names the folder, what is wrong and the fix."""


@dataclass(frozen=True)
class TargetsConfig:
    """What decides the numbers of a folder."""

    geometry_sha256: str  # the geometry checkpoint's hash
    cache_steps: tuple[int, ...]  # the window lengths K, steps: a row saw its own step and the K - 1 before it
    views: tuple[str, ...]  # cameras in the order in which the transformer read them; the features are the last one's
    # A row is [tokens, dim].
    tokens: int
    dim: int
    precision: str  # what the transformer computed in; stored is float16

    def row_bytes(self) -> int:
        """Bytes of one step on disk, all K together."""
        return len(self.cache_steps) * self.tokens * self.dim * np.dtype(np.float16).itemsize


@dataclass(frozen=True)
class EpisodeTargets:
    """One episode's targets: its name, ``stamps_s`` float64 [T], and K → features float16 [T, tokens, dim]."""

    name: str
    stamps_s: NDArray[np.float64]
    features: dict[int, Features]


class TeacherTargets:
    """Reads a folder of targets; made by :meth:`open`. Another process that gets one opens its own."""

    def __init__(self, folder: Path, config: TargetsConfig, entries: dict[str, dict[str, Any]]) -> None:
        self.folder, self.config, self._entries = folder, config, entries
        self.dim, self.tokens, self.cache_steps = config.dim, config.tokens, config.cache_steps
        self.episode_names = tuple(entries)
        self._stamps = {name: np.array(entry["stamps_s"], np.float64) for name, entry in entries.items()}
        self._shard: Callable[[str], Any] = lru_cache(_OPEN_SHARDS)(self._open_shard)

    @classmethod
    def open(cls, folder: Path | str) -> TeacherTargets:
        """Open a folder; raises TargetsError where a file is missing, corrupt or of another format."""
        folder = Path(folder)
        if not (folder / INDEX).is_file():
            raise TargetsError(
                f"{folder / INDEX}: no such file; compute the targets with `swiftvla teacher-targets EPISODES {folder}`"
            )
        return cls(folder, read_config(folder), _read_json(folder / INDEX)["episodes"])

    def __reduce__(self) -> tuple[Callable[[Path], TeacherTargets], tuple[Path]]:
        return _opened, (self.folder,)

    def read(self, episode_name: str, stamps_s: NDArray[np.float64], cache_steps: int) -> Features:
        """Read the features of some steps of an episode through a window of ``cache_steps``, float16 [T, tokens, dim].

        ``stamps_s``, float64 [T], s, may be any of the episode's, in any order; only these rows are read. The episode's
        name is as :func:`swiftvla_ros.episodes.datasets.sources.open_episodes` gives it.

        Raises
        ------
        TargetsError
            The episode, a stamp or K is not there.
        """
        if episode_name not in self._entries:
            raise TargetsError(
                f"{self.folder}: has no targets of episode '{episode_name}'; run `swiftvla teacher-targets` on its "
                "folder again, it computes what is missing"
            )
        if cache_steps not in self.cache_steps:
            raise TargetsError(
                f"{self.folder}: has no targets for K = {cache_steps}, only for {list(self.cache_steps)}; compute them "
                "into another folder with --cache-steps"
            )
        known = self._stamps[episode_name]
        wanted = np.asarray(stamps_s, np.float64)
        nearest = np.abs(known[None, :] - wanted[:, None]).argmin(axis=1)
        wrong = wanted[np.abs(known[nearest] - wanted) > _STAMP_TOLERANCE_S]
        if len(wrong):
            raise TargetsError(
                f"{self.folder}: episode '{episode_name}' has targets for stamps {known[0]:.3f} … {known[-1]:.3f} s "
                f"({len(known)} steps), not for {wrong[0]:.6f} s; the episode was recorded again after its targets "
                f"were computed: delete {self.folder / self._entries[episode_name]['shard']} and compute them again"
            )
        tensor = self._shard(self._entries[episode_name]["shard"]).get_slice(_key(cache_steps))
        rows = nearest + int(self._entries[episode_name]["row0"])
        out = np.empty((len(rows), self.tokens, self.dim), np.float16)
        # Rows that follow each other are one read.
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
            if len(run):
                out[run] = tensor[int(rows[run[0]]) : int(rows[run[-1]]) + 1]
        return out

    def _open_shard(self, name: str) -> Any:
        try:
            return safe_open(self.folder / name, framework="numpy")
        except (OSError, SafetensorError) as error:
            raise TargetsError(
                f"{self.folder / name}: can't be read ({error}); delete it and run `swiftvla teacher-targets` again"
            ) from error


@lru_cache(maxsize=1)
def _opened(folder: Path) -> TeacherTargets:
    """A process that does one item after the other opens the folder once."""
    return TeacherTargets.open(folder)


def read_config(folder: Path) -> TargetsConfig:
    """Read ``config.json``; raises :class:`TargetsError`."""
    data = _read_json(folder / CONFIG)
    if data.pop("format", None) != FORMAT:
        raise TargetsError(f"{folder / CONFIG}: format is not '{FORMAT}'; compute the targets again")
    # Folders of older versions name a stride, which was 1 always.
    data.pop("stride_steps", None)
    try:
        data["cache_steps"], data["views"] = tuple(data["cache_steps"]), tuple(data["views"])
        return TargetsConfig(**data)
    except (KeyError, TypeError) as error:
        raise TargetsError(f"{folder / CONFIG}: {error}; compute the targets again") from error


def prepare(folder: Path, config: TargetsConfig) -> dict[str, Path]:
    """Make a folder ready to be written to, and say which episodes are finished, each with the shard that has it.

    Raises TargetsError where it holds targets that were computed otherwise.
    """
    if (folder / CONFIG).is_file():
        there = read_config(folder)
        for key, value in asdict(config).items():
            if getattr(there, key) != value:
                raise TargetsError(
                    f"{folder / CONFIG}: {key} is {getattr(there, key)}, now it would be {value}; write to another "
                    "folder, or delete this one"
                )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(folder / CONFIG, {"format": FORMAT, **asdict(config)})
    return {episode["name"]: shard for shard in _shards(folder) for episode in _episodes(shard)}


def check_room(folder: Path, needed: int) -> int:
    """Return the bytes free on the disk of ``folder``; raises :class:`TargetsError` when ``needed`` are not."""
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if needed > free:
        raise TargetsError(
            f"{folder}: the targets need {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free; write to "
            "another disk, or compute fewer K (--cache-steps)"
        )
    return free


def write_shard(folder: Path, config: TargetsConfig, episodes: Sequence[EpisodeTargets]) -> Path:
    """Write the targets of some whole episodes as one shard, named after the first."""
    listed, row = [], 0
    for episode in episodes:
        listed.append({"name": episode.name, "row0": row, "stamps_s": episode.stamps_s.tolist()})
        row += len(episode.stamps_s)
    tensors = {_key(k): np.concatenate([e.features[k] for e in episodes]) for k in config.cache_steps}
    path = shard_path(folder, episodes[0].name)
    with whole_file(path, durable=True) as partial:
        save_file(tensors, partial, metadata={"episodes": json.dumps(listed), "config": json.dumps(asdict(config))})
    return path


def shard_path(folder: Path, first: str) -> Path:
    """Say where the shard lies that begins with an episode."""
    return folder / f"shard_{Path(first).stem}.safetensors"


def write_index(folder: Path) -> int:
    """Write ``index.json`` from the shards that are there; returns how many episodes it lists."""
    # Several runs may share the folder (`--shard`): who lists the shards last also writes last.
    with (folder / CONFIG).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entries = {
            episode["name"]: {"shard": shard.name, "row0": episode["row0"], "stamps_s": episode["stamps_s"]}
            for shard in _shards(folder)
            for episode in _episodes(shard)
        }
        _write_json(folder / INDEX, {"episodes": dict(sorted(entries.items()))})
    return len(entries)


def _key(cache_steps: int) -> str:
    return f"k{cache_steps}"


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard_*.safetensors"))


def _episodes(shard: Path) -> list[dict[str, Any]]:
    try:
        with safe_open(shard, framework="numpy") as file:
            return list(json.loads(file.metadata()["episodes"]))
    except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise TargetsError(
            f"{shard}: can't be read ({error}); delete it and run `swiftvla teacher-targets` again"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise TargetsError(f"{path}: can't be read ({error}); run `swiftvla teacher-targets` again") from error


def _write_json(path: Path, data: dict[str, Any]) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(data) + "\n", encoding="utf-8")
