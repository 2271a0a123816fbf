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
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract, ContractError
from swiftvla_ros.contract.executor_codes import ChunkSource, Mode
from swiftvla_ros.episodes.bags.bag import Bag, BagError, RecordedEpisode
from swiftvla_ros.episodes.bags.episode_markers import Outcome
from swiftvla_ros.episodes.bags.namespaces import IMAGES, OWN, STATE
from swiftvla_ros.episodes.datasets.bag_folders import bag_labels, find_bags
from swiftvla_ros.episodes.datasets.demonstrations.cuts import (
    OUTCOMES,
    Cuts,
    find_demonstrations,
    how_it_ended,
    verdict_of,
)
from swiftvla_ros.episodes.datasets.demonstrations.reading import DemonstrationEpisode, check_first_state
from swiftvla_ros.episodes.datasets.demonstrations.reading import lacking as demonstration_lacks
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError
from swiftvla_ros.observation.image_decoding import ImageDecodingError, rgb_of
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.message_fields import measured_positions, read_executor_state, stamp_ns
from swiftvla_ros.observation.observation import InstructionError, validate_instruction
from swiftvla_ros.observation.step_grid import GridStep, StepGrid

ONLY_SUCCESSES: tuple[Outcome, ...] = ("succeeded",)
"""Which episodes are demonstrations where nothing else is asked for."""

DEMONSTRATIONS = (
    "Episodes are read from what `swiftvla record` writes, and from any bag with the topics of the contract: name this "
    "robot's with --robot, and where its commands are under `demonstrations:` (docs/data.md)"
)
"""The way on from a bag that lacks topics."""

_NAMED = 5
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
class BagEpisode:
    """An episode of a bag, not loaded yet."""

    bag: Bag  # the bag; opened already
    label: str  # what the bag is called among the others
    recorded: RecordedEpisode  # where in it the episode is
    contract: Contract  # says how cameras, joints and steps are to be understood

    @property
    def name(self) -> str:
        """``<bag>_<episode>``, such as ``run1_episode_000000``."""
        return f"{self.label}_{self.recorded.name}"

    def steps(self) -> int:
        """Count its steps; reads stamps, decodes no image."""
        return self._count

    @cached_property
    def _count(self) -> int:
        return len(self._timeline(decode=False).steps)

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


@dataclass
class BagEpisodes:
    """The episodes of bags, none loaded, in the order of the bags' names and of time.

    ``left_out`` says of each episode, and of each bag, that isn't among them why; ``problems`` names, a line each, the
    bags that can't be read.
    """

    episodes: list[BagEpisode | DemonstrationEpisode] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def none_left(self, path: Path, outcomes: Collection[Outcome] = ONLY_SUCCESSES) -> EpisodeError:
        """Say why no episode of ``path`` is left."""
        reasons = [*self.problems, *self.left_out] or ["there is no bag"]
        more = "; …" if len(reasons) > _NAMED else ""
        return EpisodeError(f"{path}: no episode {' or '.join(outcomes)}: {'; '.join(reasons[:_NAMED])}{more}")


def open_bags(
    path: Path,
    contract: Contract,
    outcomes: Collection[Outcome] = ONLY_SUCCESSES,
    *,
    namespace: str | None = None,
    instruction: str = "",
) -> BagEpisodes:
    """List the episodes that ended with one of ``outcomes``, of a bag, a lone file or the bags of a folder.

    A bag in which a policy followed instructions has an episode for each; another one has those that a person showed,
    if it holds the topics of the robot. ``namespace`` is the robot's in bags of several; ``instruction`` is what was
    done in bags that a person drove, whatever they say themselves. There may be no episode.
    """
    found = find_bags(path)
    listed = BagEpisodes(left_out=found.notes, problems=found.problems)
    for label, bag in zip(bag_labels(path, found.bags), found.bags, strict=True):
        if problem := _list(bag, label, contract, outcomes, namespace, instruction, listed):
            listed.problems.append(problem)
    return listed


def _list(
    path: Path,
    label: str,
    contract: Contract,
    outcomes: Collection[Outcome],
    namespace: str | None,
    instruction: str,
    listed: BagEpisodes,
) -> str:
    """Add the episodes of one bag; return what keeps it from being read, else nothing."""
    try:
        record = verdict_of(path)
        if record is not None and (outcome := OUTCOMES[record.outcome]) not in outcomes:
            listed.left_out.append(f"{label}: {outcome} ({how_it_ended(record)})")
            return ""
        bag = Bag(path, contract, namespace=namespace)
        recorded = bag.episodes()
        lacking = bag.lacks(needed_topics(contract))
        shown_lacks = "" if recorded else demonstration_lacks(bag, contract)
        cuts = Cuts() if recorded or shown_lacks else find_demonstrations(bag, contract, instruction)
        if cuts.found:
            check_first_state(bag, contract)
    except OSError as error:
        return f"{path}: can't be read ({error.strerror})"
    except (BagError, ContractError) as error:
        return str(error)
    if not any(bag.counts.values()):
        listed.left_out.append(f"{label}: holds no message")
        return ""
    if len(bag.namespaces) > 1:
        # So that what is computed of one robot is not taken for another's.
        label = f"{label}_{bag.namespace.strip('/').replace('/', '_') or 'root'}"
    if not recorded and not shown_lacks:
        _list_shown(bag, label, contract, outcomes, cuts, listed)
        return ""
    if lacking:
        own = any(bag.topic(name) is not None for name in OWN)
        return f"{path}: holds no {lacking if own else shown_lacks}. {DEMONSTRATIONS}"
    if not recorded:
        listed.left_out.append(f"{label}: no instruction was followed in it")
    for entry in recorded:
        if entry.outcome in outcomes:
            listed.episodes.append(BagEpisode(bag, label, entry, contract))
        else:
            listed.left_out.append(f"{label}_{entry.name}: {entry.outcome} ({entry.text})")
    return ""


def _list_shown(
    bag: Bag, label: str, contract: Contract, outcomes: Collection[Outcome], cuts: Cuts, listed: BagEpisodes
) -> None:
    """Add the episodes that a person showed."""
    listed.left_out += [f"{label}: {note}" for note in cuts.notes]
    for number, shown in enumerate(cuts.found):
        name = label if shown.begin_ns is None and len(cuts.found) == 1 else f"{label}_episode_{number:06d}"
        if shown.outcome not in outcomes:
            listed.left_out.append(f"{name}: {shown.outcome} ({shown.text})")
        elif not shown.instruction and bag.topic("policy_state") is not None:
            listed.left_out.append(f"{label}: no instruction was followed in it")
        elif not shown.instruction:
            listed.left_out.append(
                f"{name}: nothing says what was done in it; write --instruction, or publish it on "
                f"{contract.demonstrations.instruction_topic} while recording"
            )
        else:
            listed.episodes.append(DemonstrationEpisode(bag, name, shown, contract))


def needed_topics(contract: Contract) -> dict[str, str]:
    """The topics, and their types, without which a bag holds no episode."""
    seen = {f"observation/{name}": IMAGES[0] for name in contract.camera_names}
    own = {name: OWN[name] for name in ("policy_state", "executor_state")}
    return {**own, **seen, "observation/state": STATE}


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
