# SPDX-License-Identifier: Apache-2.0
"""Bags of a robot that a person drove, for people: its episodes, whatever became of them, and each as a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.datasets.demonstrations.cuts import find_demonstrations
from swiftvla_ros.episodes.datasets.demonstrations.reading import DemonstrationEpisode, Streams, lacking
from swiftvla_ros.episodes.datasets.store import Episode
from swiftvla_ros.viewing.run_summary import RUN_TOPICS, Measured, Run, RunEvent, Ticks

_NS = 1_000_000_000
_UNSAID = "nothing was said"


def is_demonstration(bag: Bag) -> bool:
    """Whether a bag has nothing of this package's nodes, so that drivers' topics are all there is to see."""
    return all(bag.topic(name) is None for name in RUN_TOPICS)


def demonstrations_in(bag: Bag) -> list[DemonstrationEpisode]:
    """List what a person did in a bag, judged or not.

    Raises
    ------
    BagError
        Topics of the robot are missing.
    """
    if lacks := lacking(bag, bag.contract):
        raise BagError(
            f"{bag.path}: holds no executor_state, action_chunk or observation, and no {lacks}; name this robot's "
            "contract with --robot"
        )
    found = find_demonstrations(bag, bag.contract).found
    return [
        DemonstrationEpisode(
            bag, f"{bag.path.name}_{number:06d}", replace(s, instruction=s.instruction or _UNSAID), bag.contract
        )
        for number, s in enumerate(found)
    ]


def run_of(shown: DemonstrationEpisode, episode: Episode, streams: Streams) -> Run:
    """Return an episode as a run: what was commanded and measured, and what was to be done."""
    t_ns = np.round(streams.state_s * _NS).astype(np.int64)
    nothing = np.zeros_like(streams.state)
    ticks = Ticks(
        t_ns, streams.commanded, streams.commanded - streams.state, np.ones(len(t_ns)), nothing, nothing, nothing,
        nothing, np.zeros(len(t_ns)),
    )  # fmt: skip
    begin_ns, end_ns = (round(float(episode.stamps_s[k]) * _NS) for k in (0, -1))
    told = [RunEvent(begin_ns, "instruction", "", episode.instruction), RunEvent(end_ns, "instruction", "", "")]
    return Run(shown.contract, ticks, Measured(t_ns, streams.state), events=told)
