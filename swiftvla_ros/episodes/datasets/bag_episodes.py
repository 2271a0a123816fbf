# SPDX-License-Identifier: Apache-2.0
"""Bags read as the project's episodes: what the policy saw, and what the arm was commanded meanwhile, at even steps.

Step k of an episode is at ``begin + k · policy.step_s``. Images and state are those that the policy would have paired
at that moment (``StepGrid``: nothing stamped later), the action is the position that the executor commanded at it.
Steps that show nothing are left out; steps that must not be imitated have ``expert`` false: before the first chunk of
the instruction, or a person, is followed, while the executor brakes or holds by itself, and the last step before a gap,
as what comes next in the bag is not what came next.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.executor_codes import ChunkSource, Mode
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.episode_markers import RecordedEpisode
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.datasets.episode_in_bag import EpisodeInBag
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError
from swiftvla_ros.observation.image_decoding import ImageDecodingError, rgb_of
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.message_fields import measured_positions, read_executor_state, stamp_ns
from swiftvla_ros.observation.observation import InstructionError, validate_instruction
from swiftvla_ros.observation.step_grid import GridStep, StepGrid

# In place of the id of a policy's chunk.
_OPERATOR = -1
_log = logging.getLogger(__name__)
_NS = 1_000_000_000
# Step 0 sees what was stamped before the instruction came.
_PAST_NS = 1_500_000_000
# A message is received after its stamp, by more than this only where the machine stood still; and it is a steady clock
# that receives, simulated time may run faster or slower.
_EARLIER_NS, _LATER_NS = 5_000_000_000, 5_000_000_000


@dataclass(frozen=True)
class _Timeline:
    """The steps of an episode that show something, and what was commanded at each.

    ``action`` [T, J], ``expert`` [T], ``corrections`` [T] and ``commanded_ns`` [T]; ``missing``: for each step that was
    left out its time and why.
    """

    steps: list[GridStep]
    action: NDArray[np.float64]
    expert: NDArray[np.bool_]
    corrections: NDArray[np.bool_]
    commanded_ns: NDArray[np.int64]
    missing: list[tuple[int, str]]


@dataclass(frozen=True)
class BagEpisode(EpisodeInBag):
    """An episode of a bag, not loaded yet."""

    bag: Bag  # the bag; opened already
    label: str  # what the bag is called among the others
    recorded: RecordedEpisode  # where in it the episode is
    contract: Contract  # says how cameras, joints and steps are to be understood

    @property
    def name(self) -> str:
        """``<bag>_<episode>``, such as ``run1_episode_000000``."""
        return f"{self.label}_{self.recorded.name}"

    def load(self) -> Episode:
        """Read it through the contract.

        Raises
        ------
        EpisodeError
            A topic is missing or of another robot, the bag is damaged, or no step of it can be imitated.
        """
        line = self._timeline(decode=True)
        seen = [step.observation for step in line.steps if step.observation is not None]
        try:
            instruction = validate_instruction(self.recorded.instruction)
        except InstructionError as error:
            raise EpisodeError(f"{self.bag.path}: {self.recorded.name}: {error}") from error
        return Episode(
            instruction=instruction,
            images={name: np.stack([s.images[name] for s in seen]) for name in self.contract.camera_names},
            state=np.stack([s.state for s in seen]).astype(np.float32),
            action=line.action.astype(np.float32),
            expert=line.expert,
            corrections=line.corrections if line.corrections.any() else None,
            stamps_s=np.array([step.time_ns for step in line.steps], np.float64) / _NS,
            chosen_s={
                **{n: _seconds([s.image_stamps_ns[n] for s in seen]) for n in self.contract.camera_names},
                "state": _seconds([s.state_stamp_ns for s in seen]),
                "action": line.commanded_ns / _NS,
            },
            metadata={
                "bag": str(self.bag.path),
                "episode": self.recorded.name,
                "outcome": self.recorded.outcome,
                "success": self.recorded.outcome == "succeeded",
                "steps_left_out": [[(ns - self.recorded.begin_ns) / _NS, reason] for ns, reason in line.missing],
            },
        )

    def _span_ns(self) -> tuple[int, int]:
        return self.recorded.begin_ns, self.recorded.end_ns

    def _timeline(self, *, decode: bool) -> _Timeline:
        try:
            steps, commands = self._read(decode)
        except BagError as error:
            raise EpisodeError(str(error)) from error
        shown = [step for step in steps if step.observation is not None]
        missing = [(step.time_ns, step.reason) for step in steps if step.observation is None]
        if not shown:
            reason = missing[0][1] if missing else "it has no step"
            raise EpisodeError(f"{self.bag.path}: {self.recorded.name}: nothing was seen in it: {reason}")
        times, states = [step.time_ns for step in shown], [_state(step) for step in shown]
        action, expert, corrections, commanded_ns = commands.at(times, states)
        # A step is skipped between two that are not neighbours.
        indices = np.array([step.index for step in shown])
        expert[:-1] &= np.diff(indices) == 1
        if not expert.any():
            raise EpisodeError(
                f"{self.bag.path}: {self.recorded.name}: the executor followed no chunk of it, so nothing can be "
                "imitated; was executor_state recorded?"
            )
        return _Timeline(shown, action, expert, corrections, commanded_ns, missing)

    def _read(self, decode: bool) -> tuple[list[GridStep], _Commands]:
        """Sort the messages of the episode's time into its steps; without ``decode`` images are empty."""
        contract, recorded = self.contract, self.recorded
        topics = {full: name for name in contract.camera_names if (full := self.bag.image_topic(name)) is not None}
        first_ns, last_ns = self._received()
        refused: Counter[str] = Counter()
        grid, commands, steps = StepGrid(contract, recorded.begin_ns), _Commands(contract, recorded.instruction_id), []
        names = [*topics, "observation/state", "executor_state", "action_chunk"]
        for topic, received_ns, message in self.bag.merged(names, first_ns, last_ns):
            if topic == "action_chunk":
                commands.add_chunk(message)
            elif topic == "executor_state":
                commands.add_state(self.bag, message)
            elif (ns := stamp_ns(message.header.stamp)) < recorded.begin_ns - _PAST_NS:
                continue
            elif topic == "observation/state":
                grid.add_state(ns, _positions(self.bag, message, contract))
            else:
                where = f"{self.bag.path}: {topic} at {received_ns / _NS:.3f} s"
                try:
                    image = _image(where, message, contract, topics[topic], decode)
                except ImageDecodingError as error:
                    # As the running system refuses it: the picture before it is seen on.
                    refused[f"{topic}: {error}"] += 1
                    continue
                grid.add_image(topics[topic], ns, image)
            steps += self._until_end(grid.settled())
        steps += grid.finish(recorded.end_ns)
        for why, count in refused.items():
            text = "%s: %s: refused %d pictures of %s"
            _log.warning(text, self.bag.path, recorded.name, count, why, extra={"incomplete": True})
        return steps, commands

    def _until_end(self, steps: Iterator[GridStep]) -> list[GridStep]:
        return [step for step in steps if step.time_ns <= self.recorded.end_ns]

    def _received(self) -> tuple[int, int]:
        """When the messages with the episode's stamps were received, with room on both sides."""
        stamps = [(ns, stamp_ns(m.header.stamp)) for ns, m in self.bag.messages("policy_state")]
        first = min(ns for ns, stamp in stamps if stamp >= self.recorded.begin_ns)
        last = max(ns for ns, stamp in stamps if stamp <= self.recorded.end_ns)
        return first - _EARLIER_NS, last + _LATER_NS


class _Commands:
    """What the executor commanded, and whether it followed a chunk of the episode's instruction, or a person."""

    def __init__(self, contract: Contract, instruction_id: int) -> None:
        self._contract = contract
        self._instruction_id = instruction_id
        self._chunks: set[int] = set()
        self._times: list[int] = []
        self._positions: list[NDArray[np.float64]] = []
        self._followed: list[int] = []
        # A tick older than this tells nothing of now.
        self._patience_ns = round(contract.policy.max_state_age_s * _NS)

    def add_chunk(self, chunk: Any) -> None:
        if chunk.instruction_id == self._instruction_id:
            self._chunks.add(int(chunk.chunk_id))

    def add_state(self, bag: Bag, state: Any) -> None:
        tick = read_executor_state(state)
        if self._times and tick.stamp_ns <= self._times[-1]:
            return
        if tick.commanded.size and tick.joint_names != self._contract.joint_names:
            raise BagError(
                f"{bag.path}: executor_state has joints {list(tick.joint_names)}, {self._contract.path} has "
                f"{list(self._contract.joint_names)}; name the contract that the bag was recorded with"
            )
        self._times.append(tick.stamp_ns)
        self._positions.append(tick.commanded)
        followed = tick.chunk_id if tick.mode in (Mode.FRESH, Mode.TAIL) else 0
        self._followed.append(_OPERATOR if followed and tick.chunk_source == ChunkSource.OPERATOR else followed)

    def at(
        self, times_ns: Sequence[int], states: Sequence[NDArray[np.float64]]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
        """The newest command at each time [T, J], whether to imitate or a correction [T] each, and its stamp [T].

        Where nothing was commanded the arm stays where it is. What a person did is imitated, and corrects a policy
        where one had this instruction.
        """
        action = np.array(states, np.float64)
        expert, corrections = np.zeros(len(times_ns), bool), np.zeros(len(times_ns), bool)
        stamps_ns = np.array(times_ns, np.int64)
        for row, (time_ns, index) in enumerate(
            zip(times_ns, np.searchsorted(self._times, times_ns, "right") - 1, strict=True)
        ):
            if index < 0 or time_ns - self._times[index] > self._patience_ns or not self._positions[index].size:
                continue
            action[row] = self._positions[index]
            led = self._followed[index] == _OPERATOR
            expert[row] = led or self._followed[index] in self._chunks
            corrections[row] = led and bool(self._chunks)
            stamps_ns[row] = self._times[index]
        return action, expert, corrections, stamps_ns


def _seconds(stamps_ns: Sequence[int]) -> NDArray[np.float64]:
    return np.array(stamps_ns, np.float64) / _NS


def _state(step: GridStep) -> NDArray[np.float64]:
    assert step.observation is not None
    return step.observation.state


def _positions(bag: Bag, message: Any, contract: Contract) -> NDArray[np.float64]:
    """The measured joints [J] of a message of ``observation/state``."""
    try:
        return measured_positions(message, contract.joint_names)
    except JointStateError as error:
        raise BagError(f"{bag.path}: {error} ({contract.path}); name the contract of the recording") from error


def _image(where: str, message: Any, contract: Contract, camera: str, decode: bool) -> NDArray[np.uint8]:
    if not decode:
        return np.zeros((0, 0, 3), np.uint8)
    image = rgb_of(message)
    width, height = contract.camera(camera).size
    if image.shape != (height, width, 3):
        raise BagError(
            f"{where}: the image is {image.shape[1]}×{image.shape[0]}, {contract.path} says {width}×{height}; name the "
            "contract that the bag was recorded with"
        )
    return image
