# SPDX-License-Identifier: Apache-2.0
"""Episodes by name, for processes that each do some of a folder's: no other bag is opened for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.episode_markers import Outcome
from swiftvla_ros.episodes.datasets.bag_folders import bag_labels, find_bags
from swiftvla_ros.episodes.datasets.bag_listing import ONLY_SUCCESSES, BagEpisodes, WantedEpisodes, list_bag
from swiftvla_ros.episodes.datasets.sources import EpisodeHandle, StoredEpisode
from swiftvla_ros.episodes.datasets.store import EpisodeError


@dataclass(frozen=True)
class EpisodeFolder:
    """A folder of episodes and how it is read, in plain values that go to other processes.

    As :func:`~swiftvla_ros.episodes.datasets.sources.open_episodes` and
    :func:`~swiftvla_ros.episodes.datasets.bag_listing.open_bags` take them.
    """

    path: Path
    # Told apart by its text: a process keeps what it found of a folder.
    contract: Contract = field(compare=False)
    namespace: str | None = None
    instruction: str = ""
    outcomes: tuple[Outcome, ...] = ONLY_SUCCESSES  # of bags
    contract_text: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "contract_text", self.contract.text)

    def changed_s(self, name: str) -> float:
        """Return when what holds an episode was written last, s since 1970."""
        if (self.path / "meta" / "info.json").is_file():
            return _newest_s(self.path / "meta")
        if (path := self.path / name).suffix == ".safetensors" and path.is_file():
            return _newest_s(path)
        return max((_newest_s(bag) for label, bag in _bags(self.path).items() if _may_hold(label, name)), default=0.0)

    def find(self, names: Sequence[str]) -> list[EpisodeHandle]:
        """Return the episodes of these names, in their order; EpisodeError where one is gone or can't be read."""
        return [_find(self, name) for name in names]


def _find(folder: EpisodeFolder, name: str) -> EpisodeHandle:
    if (folder.path / "meta" / "info.json").is_file():
        found = _dataset(folder)
    elif (path := folder.path / name).suffix == ".safetensors" and path.is_file():
        return StoredEpisode(path, folder.contract)
    else:
        found = {}
        for label in _bags(folder.path):
            if _may_hold(label, name):
                found |= _of_bag(folder, label)
    if name not in found:
        raise EpisodeError(
            f"{folder.path}: episode '{name}' is there no more; leave the folder as it is until all is done"
        )
    return found[name]


def _may_hold(label: str, name: str) -> bool:
    """Whether a bag that is called ``label`` may hold an episode; a bag of several has their numbers behind."""
    return name == label or name.startswith(f"{label}_")


def _newest_s(path: Path) -> float:
    return max(p.stat().st_mtime for p in (path, *(path.rglob("*") if path.is_dir() else ())))


@lru_cache(maxsize=1)
def _dataset(folder: EpisodeFolder) -> dict[str, EpisodeHandle]:
    # Here, since pyarrow and PyAV take half a second that our own files don't need.
    from swiftvla_ros.episodes.datasets.lerobot_reader import open_lerobot

    return {episode.name: episode for episode in open_lerobot(folder.path, folder.contract)[0]}


@lru_cache(maxsize=1)
def _bags(path: Path) -> dict[str, Path]:
    """A process looks through the folder once."""
    bags = find_bags(path).bags
    return dict(zip(bag_labels(path, bags), bags, strict=True))


@lru_cache(maxsize=4)
def _of_bag(folder: EpisodeFolder, label: str) -> dict[str, EpisodeHandle]:
    listed = BagEpisodes()
    wanted = WantedEpisodes(folder.contract, folder.outcomes, folder.namespace, folder.instruction)
    list_bag(_bags(folder.path)[label], label, wanted, listed)
    if listed.problems:
        raise EpisodeError("\n".join(listed.problems))
    return {episode.name: episode for episode in listed.episodes}
