# SPDX-License-Identifier: Apache-2.0
"""One way to recorded episodes, wherever they come from: the project's own files, bags or a LeRobot dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.bag_episodes import find_bags, open_bags
from swiftvla_ros.episodes.datasets.store import Episode, count_steps, list_files, load_episode


class EpisodeHandle(Protocol):
    """An episode that is not loaded yet."""

    @property
    def name(self) -> str:
        """Tells it from the folder's others: a file's name, ``<bag>_episode_<number>`` or ``episode_<index>``."""

    def steps(self) -> int:
        """Count its policy steps without reading images; raises :class:`EpisodeError`."""

    def load(self) -> Episode:
        """Read it; raises :class:`EpisodeError`."""


@dataclass(frozen=True)
class StoredEpisode:
    """An episode file of the project."""

    path: Path
    contract: Contract

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def steps(self) -> int:
        """Count the policy steps from the file's header."""
        return count_steps(self.path)

    def load(self) -> Episode:
        """Read and check the file."""
        return load_episode(self.path, self.contract)


def open_episodes(folder: Path, contract: Contract, left_out: list[str] | None = None) -> list[EpisodeHandle]:
    """List the episodes of a folder, in order, and load none.

    Parameters
    ----------
    folder
        ``episode_*.safetensors`` as ``swiftvla collect`` writes them, a LeRobotDataset v3 folder, a bag, or a folder of
        bags; of bags only the episodes that succeeded.
    contract
        Says how cameras, joints and units of either are to be understood.
    left_out
        Gets a line for each episode that is there and not among the returned ones.

    Raises
    ------
    EpisodeError
        There are none, or the data don't fit the contract.
    """
    if (folder / "meta" / "info.json").is_file():
        # Here, since pyarrow and PyAV take half a second that our own files don't need.
        from swiftvla_ros.episodes.datasets.lerobot_reader import open_lerobot

        return _told(left_out, *open_lerobot(folder, contract))
    if not any(folder.glob("episode_*.safetensors")) and find_bags(folder):
        return _told(left_out, *open_bags(folder, contract))
    return [StoredEpisode(path, contract) for path in list_files(folder, "episode")]


def _told(left_out: list[str] | None, episodes: Sequence[EpisodeHandle], lines: Sequence[str]) -> list[EpisodeHandle]:
    if left_out is not None:
        left_out += lines
    return list(episodes)
