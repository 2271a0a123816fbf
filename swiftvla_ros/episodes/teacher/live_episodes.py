# SPDX-License-Identifier: Apache-2.0
"""Which steps of which episode the geometry transformer has to look at. No ROS in here."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.observation.step_grid import GridStep, StepGrid

_NS = 1_000_000_000
_STATE = ""


@dataclass(eq=False)
class LiveEpisode:
    """One instruction, from its first ``policy_state`` to the first without it, as a bag's reader finds it."""

    number: int  # how many instructions were followed before, since activation
    instruction_id: int  # the policy's number of the instruction
    begin_ns: int  # stamp of the first `policy_state` with it
    # False when its begin or an episode before it was not seen, or the clock jumped in it: then a bag has other steps,
    # or another number for it.
    whole: bool
    end_ns: int | None = None  # stamp of the first `policy_state` without it; None while it goes on
    skipped: int = 0  # steps that were given up

    @property
    def name(self) -> str:
        """The name that a bag's reader gives it."""
        return f"episode_{self.number:06d}"


@dataclass(frozen=True)
class Step:
    """A step to look at."""

    episode: LiveEpisode
    step: GridStep


@dataclass(frozen=True)
class End:
    """No more steps of this episode will come."""

    episode: LiveEpisode


Job = Step | End


class LiveEpisodes:
    """Sorts images and joint states into the steps of the episodes that ``policy_state`` tells of.

    Not locked: the caller serialises access. All times are ns on the ROS clock.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        timing = contract.policy
        # Step 0 sees what was stamped before the instruction came.
        self._past_ns = round((max(timing.max_image_age_s, timing.max_state_age_s) + timing.pair_slop_s) * _NS)
        self._past: deque[tuple[str, int, Any]] = deque()
        self._open: list[tuple[LiveEpisode, StepGrid]] = []
        self._current: LiveEpisode | None = None
        self._lost: list[LiveEpisode] = []
        self._interrupted_id = 0
        self._count = 0
        self._joined = False
        self._late: bool | None = None

    def add_image(self, camera: str, stamp_ns: int, image: NDArray[np.uint8]) -> None:
        """Take a conditioned image."""
        self._add(camera, stamp_ns, image)

    def add_state(self, stamp_ns: int, state: NDArray[np.float64]) -> None:
        """Take joint positions [J]."""
        self._add(_STATE, stamp_ns, state)

    def see_instruction(self, stamp_ns: int, instruction_id: int, chunks: int = 0) -> None:
        """Take from ``policy_state`` which instruction is followed (0: none), and how many chunks there were so far."""
        if self._late is None:
            # Started again beside a policy that was at work: how many episodes a bag has already isn't known.
            self._late = chunks > 0
        current = self._current
        if current is not None and instruction_id != current.instruction_id:
            current.end_ns = stamp_ns
            self._current = current = None
        if current is None and instruction_id:
            # The first message ever may be the last of many with this instruction: then the begin was missed.
            number = self._count - (instruction_id == self._interrupted_id)
            self._current = LiveEpisode(number, instruction_id, stamp_ns, whole=self._joined and not self._late)
            self._count = number + 1
            self._interrupted_id = 0
            grid = StepGrid(self._contract, stamp_ns)
            for source, ns, value in self._past:
                _feed(grid, source, ns, value)
            self._open.append((self._current, grid))
        self._joined = True

    def clear(self) -> None:
        """Forget all messages and leave running episodes unfinished, as after a clock jump."""
        self._past.clear()
        for episode, _ in self._open:
            episode.whole = False
            self._lost.append(episode)
        self._open.clear()
        # What policy_state tells next is the begin of nothing that a bag has like this.
        self._interrupted_id = 0 if self._current is None else self._current.instruction_id
        self._current, self._joined = None, False

    def take(self, now_ns: int) -> list[Job]:
        """Return what there is to do now, in order, each once."""
        jobs: list[Job] = [End(episode) for episode in self._lost]
        self._lost.clear()
        # One after the other: the next one's first step may be settled before this one's last.
        while self._open:
            episode, grid = self._open[0]
            for step in grid.settled(now_ns):
                if episode.end_ns is not None and step.time_ns > episode.end_ns:
                    break
                if step.index == 0 and step.observation is None:
                    # What was seen before it may have been published before this node listened.
                    episode.whole = False
                jobs.append(Step(episode, step))
            if episode.end_ns is None or grid.next_ns <= episode.end_ns:
                break
            jobs.append(End(episode))
            self._open.pop(0)
        return jobs

    def _add(self, source: str, stamp_ns: int, value: Any) -> None:
        self._past.append((source, stamp_ns, value))
        while self._past[0][1] < stamp_ns - self._past_ns:
            self._past.popleft()
        for _, grid in self._open:
            _feed(grid, source, stamp_ns, value)


def _feed(grid: StepGrid, source: str, stamp_ns: int, value: Any) -> None:
    if source == _STATE:
        grid.add_state(stamp_ns, value)
    else:
        grid.add_image(source, stamp_ns, value)
