# SPDX-License-Identifier: Apache-2.0
"""A demonstration of a bag as an episode: the driver's own topics, sampled as a policy would have seen them.

Step k is at ``begin + k · policy.step_s``. Images and joint state are those that the policy would have paired then
(``StepGrid``: nothing stamped later), conditioned as ``camera_node`` does it; the action is the newest that had been
commanded. A step at which something is missing or stale is left out, and counted by topic. Stamps of zero or of another
clock are replaced by the time of reception, as in the running system.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Camera, Contract
from swiftvla_ros.contract.images import condition_image
from swiftvla_ros.episodes.bags.bag import Bag, RawMessage
from swiftvla_ros.episodes.bags.message_types import BagError, Decoder
from swiftvla_ros.episodes.bags.namespaces import IMAGES, STATE
from swiftvla_ros.episodes.datasets.demonstrations.actions import Action, action_track
from swiftvla_ros.episodes.datasets.demonstrations.cuts import ShownEpisode
from swiftvla_ros.episodes.datasets.demonstrations.magnitudes import check_magnitude
from swiftvla_ros.episodes.datasets.episode_in_bag import EpisodeInBag
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError
from swiftvla_ros.observation import pairing
from swiftvla_ros.observation.image_decoding import (
    ImageDecodingError,
    compressed_topic,
    conditioned_image,
    rgb_of,
)
from swiftvla_ros.observation.joint_state import JointStateError, JointStateMerger
from swiftvla_ros.observation.message_fields import header_stamp_ns
from swiftvla_ros.observation.observation import InstructionError, validate_instruction
from swiftvla_ros.observation.stamp_clock import StampClock
from swiftvla_ros.observation.step_grid import GridStep, StepGrid

_NS = 1_000_000_000
# What a step sees, or what was commanded, was received no longer before it than this; and no later behind it.
_EARLIER_NS, _LATER_NS = 2_000_000_000, 1_000_000_000
_STAMPED = (*IMAGES, STATE, "trajectory_msgs/msg/JointTrajectory", "swiftvla_ros/msg/ExecutorState")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CameraTopic:
    """Where a bag has a camera's pictures: the full topic, and whether they are conditioned already."""

    topic: str
    conditioned: bool


def camera_topic(bag: Bag, camera: Camera) -> CameraTopic | None:
    """Find a camera's pictures: the driver's, raw or compressed, else those that ``camera_node`` made of them."""
    raw = camera.topic.removesuffix("/compressed")
    for name in dict.fromkeys((camera.topic, raw, compressed_topic(raw))):
        if (full := bag.topic(name)) is not None and bag.types[full] in IMAGES:
            return CameraTopic(full, conditioned=False)
    observed = bag.image_topic(camera.name)
    return None if observed is None else CameraTopic(observed, conditioned=True)


def lacking(bag: Bag, contract: Contract) -> str:
    """Name the topics without which a bag shows no demonstration; empty where all are there."""
    track = action_track(bag, contract)
    wanted = {contract.joint_states.topic: STATE, **(track.topics if track is not None else {})}
    wanted |= {camera.topic: IMAGES[0] for camera in contract.cameras if camera_topic(bag, camera) is None}
    return bag.lacks(wanted)


def check_first_state(bag: Bag, contract: Contract) -> None:
    """Refuse a bag whose first complete joint state is in another unit than the contract's; raises BagError."""
    merger = JointStateMerger(contract.joint_names)
    for received_ns, message in bag.messages(contract.joint_states.topic):
        try:
            state = merger.update(message.name, message.position, received_ns)
        except JointStateError:
            continue  # counted when it is read
        if state is not None:
            try:
                check_magnitude(contract.joint_states.topic, contract.to_si(state.positions), contract)
            except BagError as error:
                raise BagError(f"{bag.path}: {error}") from error
            return
    missing = ", ".join(merger.missing)
    raise BagError(
        f"{bag.path}: {contract.joint_states.topic} never has joint {missing}; name the contract of this robot"
    )


@dataclass(frozen=True)
class Streams:
    """What was published meanwhile, as fast as it came; times in s on the clock of the stamps.

    ``commanded`` has a row for each state, NaN where nothing was commanded; ``commanded_s`` is when it was.
    """

    image_s: dict[str, NDArray[np.float64]]  # by camera [N]
    state_s: NDArray[np.float64]  # [M]
    state: NDArray[np.float64]  # [M, J], rad or m
    commanded: NDArray[np.float64]  # [M, J], rad or m
    commanded_s: NDArray[np.float64]  # [M]


@dataclass(frozen=True)
class _DemonstrationTimeline:
    steps: list[GridStep]
    actions: list[Action]
    expert: NDArray[np.bool_]
    missing: list[tuple[int, str, str]]  # time, topic, why
    begin_ns: int
    streams: Streams


@dataclass(frozen=True)
class DemonstrationEpisode(EpisodeInBag):
    """A demonstration of a bag, not loaded yet."""

    bag: Bag  # the bag; opened already
    name: str  # tells it from the folder's others
    shown: ShownEpisode  # when it was, what was done and how it ended
    contract: Contract

    def load(self) -> Episode:
        """Read it through the contract.

        Raises
        ------
        EpisodeError
            The bag is damaged or of another robot, nothing was commanded, or it has no instruction.
        """
        return self.read()[0]

    def read(self) -> tuple[Episode, Streams]:
        """Read it as :meth:`load` does, and what was published meanwhile."""
        line = self._timeline(decode=True)
        try:
            instruction = validate_instruction(self.shown.instruction)
        except InstructionError as error:
            raise EpisodeError(f"{self.bag.path}: {self.name}: {error}") from error
        seen = [step.observation for step in line.steps if step.observation is not None]
        counted = Counter(topic for _, topic, _ in line.missing)
        if counted:
            _log.warning(
                "%s: %s: %d of %d steps are left out: %s (first: %s)",
                self.bag.path,
                self.name,
                len(line.missing),
                len(line.missing) + len(seen),
                ", ".join(f"{count} for {topic}" for topic, count in counted.most_common()),
                line.missing[0][2],
                extra={"incomplete": True},
            )
        names = self.contract.camera_names
        episode = Episode(
            instruction=instruction,
            images={name: np.stack([s.images[name] for s in seen]) for name in names},
            state=np.stack([s.state for s in seen]).astype(np.float32),
            action=np.stack([action.position for action in line.actions]).astype(np.float32),
            expert=line.expert,
            stamps_s=np.array([step.time_ns for step in line.steps], np.float64) / _NS,
            chosen_s={
                **{name: np.array([s.image_stamps_ns[name] for s in seen], np.float64) / _NS for name in names},
                "state": np.array([s.state_stamp_ns for s in seen], np.float64) / _NS,
                "action": np.array([action.stamp_ns for action in line.actions], np.float64) / _NS,
            },
            metadata={
                "bag": str(self.bag.path),
                "episode": self.name,
                "outcome": self.shown.outcome,
                "success": self.shown.outcome == "succeeded",
                "steps_left_out": [[(ns - line.begin_ns) / _NS, reason] for ns, _, reason in line.missing],
                "left_out_by_topic": dict(counted),
            },
        )
        return episode, line.streams

    def _span_ns(self) -> tuple[int, int]:
        shown, bag = self.shown, self.bag
        return (
            bag.start_ns if shown.begin_ns is None else shown.begin_ns,
            bag.end_ns if shown.end_ns is None else shown.end_ns,
        )

    def _timeline(self, *, decode: bool) -> _DemonstrationTimeline:
        try:
            line = _Reading(self, decode=decode).timeline()
        except BagError as error:
            text = str(error)
            where = "" if text.startswith(str(self.bag.path)) else f"{self.bag.path}: "
            raise EpisodeError(f"{where}{text}") from error
        if not line.expert.any():
            reason = line.missing[0][2] if line.missing else "it has fewer than two steps"
            raise EpisodeError(f"{self.bag.path}: {self.name}: nothing in it can be imitated: {reason}")
        return line


class _Reading:
    """One pass over the messages of an episode's time."""

    def __init__(self, episode: DemonstrationEpisode, *, decode: bool) -> None:
        self._bag, self._shown, self._contract = episode.bag, episode.shown, episode.contract
        self._name, self._decode = episode.name, decode
        found = {camera.name: camera_topic(self._bag, camera) for camera in self._contract.cameras}
        self._pictures = {place.topic: (name, place.conditioned) for name, place in found.items() if place is not None}
        self._track = action_track(self._bag, self._contract)
        asked = self._track.topics if self._track is not None else {}
        self._actions = {full: name for name in asked if (full := self._bag.topic(name)) is not None}
        self._states = self._bag.topic(self._contract.joint_states.topic) or ""
        self._topics = [*self._pictures, self._states, *self._actions]
        self._clocks = {topic: StampClock(topic) for topic in self._topics}
        self._decoders: dict[str, Decoder] = {}
        self._merger = JointStateMerger(self._contract.joint_names)
        self._refused: Counter[str] = Counter()
        self._last_ns = 0
        self._image_ns: dict[str, list[int]] = {camera: [] for camera in self._contract.camera_names}
        self._measured_at: list[tuple[int, NDArray[np.float64]]] = []

    def timeline(self) -> _DemonstrationTimeline:
        """Return the steps that show something, and what was commanded at each."""
        begin_ns = self._begin_ns()
        shown, missing = [], []
        grid = StepGrid(self._contract, begin_ns, decode=self._picture if self._decode else None)
        for step in self._steps(grid):
            topic = self._topic_of(step)
            if step.observation is None:
                missing.append((step.time_ns, topic, step.reason))
            else:
                shown.append(step)
        shown, actions, expert = self._acted(shown, missing)
        for why, count in self._refused.items():
            text = "%s: %s: refused %d messages of %s"
            _log.warning(text, self._bag.path, self._name, count, why, extra={"incomplete": True})
        missing.sort()
        return _DemonstrationTimeline(shown, actions, expert, missing, begin_ns, self._streams(begin_ns))

    def _streams(self, begin_ns: int) -> Streams:
        """What came in the episode's time."""
        end_ns = self._last_ns if self._shown.end_ns is None else self._shown.end_ns
        measured = [(ns, position) for ns, position in self._measured_at if begin_ns <= ns <= end_ns]
        nothing = Action(np.full(len(self._contract.joints), np.nan), 0)
        asked = [None if self._track is None else self._track.at(ns) for ns, _ in measured]
        commanded = [action if isinstance(action, Action) else nothing for action in asked]
        images = {name: [ns for ns in stamps if begin_ns <= ns <= end_ns] for name, stamps in self._image_ns.items()}
        return Streams(
            {name: np.array(stamps, np.float64) / _NS for name, stamps in images.items()},
            np.array([ns for ns, _ in measured], np.float64) / _NS,
            np.array([position for _, position in measured]).reshape(len(measured), -1),
            np.array([action.position for action in commanded]).reshape(len(measured), -1),
            np.array([action.stamp_ns for action in commanded], np.float64) / _NS,
        )

    def _begin_ns(self) -> int:
        """When it began: as it is marked, or as soon as everything has come."""
        if self._shown.begin_ns is not None:
            return self._shown.begin_ns
        firsts = []
        for topic in self._topics:
            first = next(iter(self._bag.raw([topic])), None)
            if first is None:
                raise BagError(f"{self._bag.path}: {topic} has no message; record it again")
            firsts.append(self._time_ns(first))
            self._clocks[topic].clear()
        return max(firsts)

    def _steps(self, grid: StepGrid) -> Iterator[GridStep]:
        """Sort messages into steps."""
        begin_ns, end_ns = self._shown.begin_ns, self._shown.end_ns
        first_ns = None if begin_ns is None else begin_ns - _EARLIER_NS
        for raw in self._bag.raw(self._topics, first_ns, None if end_ns is None else end_ns + _LATER_NS):
            time_ns = self._time_ns(raw)
            self._last_ns = max(self._last_ns, time_ns)
            if raw.topic in self._pictures:
                camera = self._pictures[raw.topic][0]
                self._image_ns[camera].append(time_ns)
                grid.add_image(camera, time_ns, raw)
            elif raw.topic == self._states:
                self._state(grid, raw, time_ns)
            else:
                assert self._track is not None
                self._track.take(self._actions[raw.topic], min(time_ns, raw.received_ns), self._message(raw))
            # What comes later than this comes too late for a running policy, too.
            yield from self._inside(grid.settled(raw.received_ns - _LATER_NS))
        yield from self._inside(grid.finish(self._last_ns))

    def _inside(self, steps: Iterator[GridStep]) -> Iterator[GridStep]:
        end_ns = self._shown.end_ns
        for step in steps:
            if end_ns is None or step.time_ns < end_ns:
                yield step

    def _acted(
        self, steps: list[GridStep], missing: list[tuple[int, str, str]]
    ) -> tuple[list[GridStep], list[Action], NDArray[np.bool_]]:
        """Leave out steps without a command; a step before a gap is not imitated, as what comes next is unknown."""
        kept, actions = [], []
        if self._track is None:
            return self._measured(steps)
        for step in steps:
            action = self._track.at(step.time_ns)
            if isinstance(action, str):
                missing.append((step.time_ns, action, f"{action}: nothing was commanded within the last moments"))
            else:
                kept.append(step)
                actions.append(action)
        expert = np.array([action.expert for action in actions], np.bool_)
        expert[:-1] &= np.diff([step.index for step in kept]) == 1
        return kept, actions, expert

    def _measured(self, steps: list[GridStep]) -> tuple[list[GridStep], list[Action], NDArray[np.bool_]]:
        """What the arm did next is what was wanted; nobody knows what came after the last step."""
        actions = []
        for step, then in zip(steps, [*steps[1:], None], strict=True):
            follows = then is not None and then.index == step.index + 1
            seen = then.observation if then is not None and follows else step.observation
            assert seen is not None
            actions.append(Action(seen.state, seen.state_stamp_ns, follows))
        return steps, actions, np.array([action.expert for action in actions], np.bool_)

    def _state(self, grid: StepGrid, raw: RawMessage, time_ns: int) -> None:
        message = self._message(raw)
        try:
            state = self._merger.update(message.name, message.position, time_ns)
        except JointStateError as error:
            self._refused[f"{raw.topic}: {error}"] += 1
            return
        if state is None:
            return
        position = self._contract.to_si(state.positions)
        check_magnitude(raw.topic, position, self._contract)
        self._measured_at.append((state.stamp_ns, position))
        grid.add_state(state.stamp_ns, position)

    def _picture(self, camera: str, raw: RawMessage) -> NDArray[np.uint8] | None:
        """As the running system conditions it; None where it would refuse it, and the picture before is seen on."""
        known = self._contract.camera(camera)
        try:
            if self._pictures[raw.topic][1]:
                return conditioned_image(self._message(raw), known.size)
            return condition_image(rgb_of(self._message(raw)), known)
        except (ImageDecodingError, BagError) as error:
            self._refused[f"{raw.topic}: {error}"] += 1
            return None
        except ValueError as error:
            raise BagError(f"{raw.topic}: {error}") from error

    def _message(self, raw: RawMessage) -> Any:
        if raw.topic not in self._decoders:
            self._decoders[raw.topic] = Decoder(self._bag.channels[raw.topic])
        return self._decoders[raw.topic](raw.data)

    def _time_ns(self, raw: RawMessage) -> int:
        """When a message counts from; commands without a stamp count when they come."""
        ns = header_stamp_ns(raw.data) if raw.msgtype in _STAMPED else 0
        if ns == 0 and raw.topic in self._actions:
            return raw.received_ns
        clock = self._clocks[raw.topic]
        time_ns = clock.resolve(ns, raw.received_ns)
        if warning := clock.take_warning():
            _log.warning("%s: %s", self._bag.path, warning)
        return time_ns

    def _topic_of(self, step: GridStep) -> str:
        if step.source == pairing.STATE:
            return self._states
        return next((topic for topic, (camera, _) in self._pictures.items() if camera == step.source), step.source)
