# SPDX-License-Identifier: Apache-2.0
"""A finding, and what the checks are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.demonstrations.reading import Streams
from swiftvla_ros.episodes.datasets.store import Episode

Array = NDArray[np.float64]
FindingLevel = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: an ``error`` spoils what is learnt, a ``warning`` may be meant.

    ``episode`` is empty where it is about all of them; ``where`` is a topic, joint or camera; ``value`` is what was
    measured, in the unit that ``text`` says.
    """

    check: str
    level: FindingLevel
    episode: str
    where: str
    value: float
    text: str
    fix: str

    def line(self) -> str:
        """Tell it in one line."""
        episode = f"{self.episode}: " if self.episode else ""
        return f"{self.level}: {episode}{self.where}: {self.text}; {self.fix}"


@dataclass(frozen=True)
class ExaminedEpisode:
    """One episode, and what was published meanwhile; of episodes that are no bag that is the steps alone."""

    name: str
    contract: Contract
    episode: Episode
    streams: Streams
    recorded: Contract | None = None  # the contract that lies in the bag

    @property
    def seconds(self) -> float:
        """How long it is, s."""
        return float(self.episode.stamps_s[-1] - self.episode.stamps_s[0])

    def find(self, check: str, level: FindingLevel, where: str, value: float, text: str, fix: str) -> Finding:
        """Make a finding of this episode."""
        return Finding(check, level, self.name, where, float(value), text, fix)


def streams_of_steps(episode: Episode) -> Streams:
    """What is known of an episode without its bag: the steps."""
    chosen = episode.chosen_s
    state_s, index = np.unique(chosen.get("state", episode.stamps_s), return_index=True)
    images = {name: np.unique(chosen.get(name, episode.stamps_s)) for name in episode.images}
    commanded_s = chosen.get("action", episode.stamps_s)[index]
    state, action = episode.state[index].astype(np.float64), episode.action[index].astype(np.float64)
    return Streams(images, state_s, state, action, commanded_s)


@dataclass(frozen=True)
class Digest:
    """What is kept of an episode for the checks of all of them."""

    name: str
    instruction: str
    steps: int
    seconds: float
    left_out: int
    lowest: Array  # of the measured positions [J]
    highest: Array
    start: Array  # the first measured position [J]
    sharpness: dict[str, float]  # by camera
    first_images: dict[str, NDArray[np.uint8]]  # by camera, RGB [h, w, 3]
    lag_s: float  # of the state behind the command; NaN where it can't be told
    trace: str  # the same for two episodes of the same motion
