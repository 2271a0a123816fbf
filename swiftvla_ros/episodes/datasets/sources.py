# SPDX-License-Identifier: Apache-2.0
"""One way to recorded episodes, wherever they come from: the project's own files, bags or a LeRobot dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.bag_folders import find_bags
from swiftvla_ros.episodes.datasets.bag_listing import open_bags
from swiftvla_ros.episodes.datasets.store import (
    Episode,
    EpisodeError,
    check_path,
    count_steps,
    list_files,
    load_episode,
)


class EpisodeHandle(Protocol):
    """An episode that is not loaded yet."""

    @property
    def name(self) -> str:
        """Tells it from the folder's others: a file's name, ``<bag>_episode_<number>`` or ``episode_<index>``."""

    def steps(self) -> int:
        """Count its policy steps without reading images; raises :class:`EpisodeError`."""

    def expected_steps(self) -> int:
        """Return how many steps it has unless some are missing; of a bag that is its duration, nothing is read."""

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

    def expected_steps(self) -> int:
        """Count them."""
        return self.steps()

    def load(self) -> Episode:
        """Read and check the file."""
        return load_episode(self.path, self.contract)


def open_episodes(
    folder: Path,
    contract: Contract,
    left_out: list[str] | None = None,
    *,
    namespace: str | None = None,
    instruction: str = "",
) -> list[EpisodeHandle]:
    """List the episodes of a folder, in order, and load none.

    Parameters
    ----------
    folder
        ``episode_*.safetensors`` as ``swiftvla collect`` writes them, a LeRobotDataset v3 folder, a bag, a lone file of
        one, or a folder of bags; of bags only the episodes that succeeded. Bags beside episode files are read, too.
    contract
        Says how cameras, joints and units of either are to be understood.
    left_out
        Gets a line for each episode that is there and not among the returned ones.
    namespace
        The robot's, in bags of several.
    instruction
        What was done in bags that a person drove; empty: they say it themselves.

    Raises
    ------
    EpisodeError
        There are none, they don't fit the contract, or a bag among them can't be read: each is named.
    """
    check_path(folder)
    if (folder / "meta" / "info.json").is_file():
        # Here, since pyarrow and PyAV take half a second that our own files don't need.
        from swiftvla_ros.episodes.datasets.lerobot_reader import open_lerobot

        told = _beside(find_bags(folder).bags)
        episodes, odd = open_lerobot(folder, contract)
        return _told(left_out, episodes, [*odd, *told])
    stored = sorted(folder.glob("episode_*.safetensors"))
    found = find_bags(folder)
    if not found.bags and not found.problems:
        return [StoredEpisode(path, contract) for path in stored or list_files(folder, "episode")]
    bags = open_bags(folder, contract, namespace=namespace, instruction=instruction)
    if bags.problems:
        or_else = [] if found.bags == [folder] else [f"(or move what can't be read out of {folder})"]
        raise EpisodeError("\n".join([*bags.problems, *or_else]))
    if not stored and not bags.episodes:
        raise bags.none_left(folder)
    return _told(left_out, [*(StoredEpisode(path, contract) for path in stored), *bags.episodes], bags.left_out)


def _beside(bags: Sequence[Path]) -> list[str]:
    """Tell of bags in a folder that is read as something else."""
    return [f"{bag}: a bag in the folder of a LeRobotDataset; name it by itself to read it" for bag in bags]


def _told(left_out: list[str] | None, episodes: Sequence[EpisodeHandle], lines: Sequence[str]) -> list[EpisodeHandle]:
    if left_out is not None:
        left_out += lines
    return list(episodes)
