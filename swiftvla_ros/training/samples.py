# SPDX-License-Identifier: Apache-2.0
"""Training samples in memory: demonstrations with chunks, keypoints and 4D features, and grounding scenes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import ActionCoding, CameraPose, Contract
from swiftvla_ros.episodes.datasets.sources import EpisodeHandle
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError, GroundingScenes, load_scenes
from swiftvla_ros.episodes.teacher.targets import TeacherTargets
from swiftvla_ros.model.config import SwiftVLAConfig

# Frames at the start of an episode, and after a disturbance ended, are drawn more often: only there does the word alone
# decide where to go; a few steps later the arm's own motion gives the target away.
EARLY_FRAMES = 3
EARLY_SHARE = 0.35
# As many rows as any network's horizon may have.
ALL_ROWS = 4096

_Result = TypeVar("_Result")
Tokenize = Callable[[str], NDArray[np.int64]]


@dataclass(frozen=True)
class Labels:
    """What the losses of b samples are judged by: all but the observation.

    ``actions`` [b, H, J] in SI (as the contract's ``policy.actions`` says; "absolute" ones relative to the state),
    ``row_valid`` [b, H], ``keypoint_uv`` [b, f, 2], ``keypoint_valid`` [b, f].
    """

    actions: NDArray[np.float32]
    row_valid: NDArray[np.bool_]
    keypoint_uv: NDArray[np.float32]
    keypoint_valid: NDArray[np.bool_]

    @staticmethod
    def join(parts: Sequence[Labels]) -> Labels:
        """One after the other."""
        return Labels(*(np.concatenate([getattr(part, name) for part in parts]) for name in Labels.__annotations__))


@dataclass(frozen=True)
class Batch:
    """One batch as numpy arrays; the trainer normalises and moves it to the device.

    ``images`` uint8 [b, cams, h, w, 3], ``tokens`` b arrays of ids, ``state`` [b, J] in SI.
    """

    images: NDArray[np.uint8]
    tokens: list[NDArray[np.int64]]
    state: NDArray[np.float32]
    labels: Labels

    @staticmethod
    def join(parts: Sequence[Batch]) -> Batch:
        """One batch after the other."""
        return Batch(
            images=np.concatenate([part.images for part in parts]),
            tokens=[tokens for part in parts for tokens in part.tokens],
            state=np.concatenate([part.state for part in parts]),
            labels=Labels.join([part.labels for part in parts]),
        )


class EpisodeSamples:
    """Frames of demonstrations; a sample is a pictured frame that the expert commanded, its chunk and its keypoints.

    ``targets`` are the teacher's 4D features of these episodes; ``scratch`` is the folder for a file of images where
    they are more than half of the memory holds, None keeps all in memory.
    """

    def __init__(
        self,
        episodes: Sequence[EpisodeHandle],
        contract: Contract,
        config: SwiftVLAConfig,
        tokenize: Tokenize,
        targets: TeacherTargets | None = None,
        scratch: Path | None = None,
    ) -> None:
        self.left_out: list[str] = []
        room = sum(self._usable(handle.steps) or 0 for handle in episodes)
        width, height = contract.camera(contract.camera_names[0]).size
        # Filled in place: twice the images would not fit where the images do.
        self.images = _room((room, len(contract.camera_names), height, width, 3), scratch)
        self.tokens: list[NDArray[np.int64]] = []
        states, stamps, labels, early, pictured = [], [], [], [], []
        start, steps = 0, []
        self.names: list[str] = []
        for handle in episodes:
            episode = self._usable(handle.load)
            if episode is None:
                continue
            for index, name in enumerate(contract.camera_names):
                self.images[start : start + len(episode.state), index] = episode.images[name]
            states.append(episode.state)
            stamps.append(episode.stamps_s)
            episode_labels, episode_early = label_episode(episode, contract, config)
            labels.append(episode_labels)
            early.append(episode_early)
            pictured.append(episode.pictured)
            self.tokens.append(tokenize(episode.instruction))
            self.names.append(handle.name)
            steps.append(len(episode.state))
            start += len(episode.state)
        if not steps:
            raise EpisodeError(f"no episode can be used: {'; '.join(self.left_out[:3])}")
        self.images = self.images[:start]
        self.episode = np.repeat(np.arange(len(steps)), steps)
        self.state, self.stamps_s = np.concatenate(states), np.concatenate(stamps)
        self._labels = Labels.join(labels)
        self.targets = targets
        usable = self._labels.row_valid[:, 0] & np.concatenate(pictured)
        self.frames = np.flatnonzero(usable)
        self.early_frames = np.flatnonzero(usable & np.concatenate(early))

    def _usable(self, read: Callable[[], _Result]) -> _Result | None:
        """What one episode gives; one that can't be used is named, and doesn't cost the others."""
        try:
            return read()
        except EpisodeError as error:
            self.left_out.append(str(error))
            return None

    def valid_actions(self) -> NDArray[np.float32]:
        """All rows of all chunks that count, [N, J]: what the action statistics are taken from."""
        return self._labels.actions[self._labels.row_valid]

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Random frames."""
        early = rng.random(count) < EARLY_SHARE
        return np.where(early, rng.choice(self.early_frames, count), rng.choice(self.frames, count))

    def take(self, frames: NDArray[np.int64]) -> Batch:
        """The samples at ``frames``."""
        return Batch(
            images=self.images[frames],
            tokens=[self.tokens[self.episode[f]] for f in frames],
            state=self.state[frames],
            labels=self.labels(frames),
        )

    def labels(self, frames: NDArray[np.int64]) -> Labels:
        """The labels of :meth:`take` alone."""
        every = self._labels
        return Labels(
            every.actions[frames], every.row_valid[frames], every.keypoint_uv[frames], every.keypoint_valid[frames]
        )

    def geometry(self, frames: NDArray[np.int64], cache_steps: NDArray[np.int64]) -> NDArray[np.float16]:
        """The teacher's 4D features of ``frames`` [b, tokens, dim], each with the temporal cache that it names."""
        assert self.targets is not None
        features = np.empty((len(frames), self.targets.tokens, self.targets.dim), np.float16)
        for row, (frame, k) in enumerate(zip(frames, cache_steps, strict=True)):
            name = self.names[self.episode[frame]]
            features[row] = self.targets.read(name, self.stamps_s[frame : frame + 1], int(k))[0]
        return features


class SceneSamples:
    """Still scenes with referring instructions: the goal keypoint is known, there is no action."""

    def __init__(self, paths: Sequence[Path], contract: Contract, config: SwiftVLAConfig, tokenize: Tokenize) -> None:
        shards: list[GroundingScenes] = [load_scenes(path, contract) for path in paths]
        self.config, self._actions = config, len(contract.action_names)
        self.images = np.concatenate([np.stack([s.images[n] for n in contract.camera_names], axis=1) for s in shards])
        self.state = np.concatenate([s.state for s in shards])
        self.target_uv = np.concatenate([s.target_uv for s in shards])
        self.target_color = np.concatenate([s.target_color for s in shards])
        self.instructions = [texts for s in shards for texts in s.instructions]
        self.tokens = [[tokenize(text) for text in texts] for texts in self.instructions]

    def __len__(self) -> int:
        return len(self.state)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Random scenes, and for each the number of one of its instructions."""
        return rng.integers(len(self), size=count), rng.integers(self.target_uv.shape[1], size=count)

    def take(self, scenes: NDArray[np.int64], which: NDArray[np.int64]) -> Batch:
        """The scenes at ``scenes``, each with its instruction number ``which``."""
        return Batch(
            images=self.images[scenes],
            tokens=[self.tokens[s][k] for s, k in zip(scenes, which, strict=True)],
            state=self.state[scenes],
            labels=self.labels(scenes, which),
        )

    def labels(self, scenes: NDArray[np.int64], which: NDArray[np.int64]) -> Labels:
        """The labels of :meth:`take` alone: the goal keypoint, and neither actions nor a path."""
        count, horizon, keypoints = len(scenes), self.config.horizon, _num_keypoints(self.config)
        keypoint_uv = np.zeros((count, keypoints, 2), np.float32)
        keypoint_uv[:, :1] = self.target_uv[scenes, which][:, None]
        keypoint_valid = np.zeros((count, keypoints), bool)
        keypoint_valid[:, :1] = True
        actions = np.zeros((count, horizon, self._actions), np.float32)
        return Labels(actions, np.zeros((count, horizon), bool), keypoint_uv, keypoint_valid)


def _room(shape: tuple[int, ...], scratch: Path | None) -> NDArray[np.uint8]:
    """An array to be filled; one that is too large for the memory is a file's, which ends with the process."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if scratch is None or np.prod(shape) < memory / 2:
        return np.empty(shape, np.uint8)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def _num_keypoints(config: SwiftVLAConfig) -> int:
    return 0 if config.fusion is None else config.fusion.num_tokens


def label_episode(episode: Episode, contract: Contract, config: SwiftVLAConfig) -> tuple[Labels, NDArray[np.bool_]]:
    """Labels of all T frames, and which frames are early."""
    steps = len(episode.state)
    ends = _end_of_run(episode.expert)
    times = np.arange(steps)
    rows = times[:, None] + np.arange(config.horizon)
    # After the demonstration's end the arm stays where it was commanded last.
    inside = np.minimum(rows, steps - 1)
    actions = ActionCoding.of(contract).encode(episode.action[inside], episode.state)
    row_valid = np.arange(config.horizon) < rows_to_imitate(episode)[:, None]
    keypoint_uv, keypoint_valid = _keypoints(episode, contract, config, ends)
    starts = episode.expert & ~np.concatenate([[False], episode.expert[:-1]])
    early = np.zeros(steps, bool)
    for start in np.flatnonzero(starts):
        early[start : start + EARLY_FRAMES] = True
    return Labels(actions.astype(np.float32), row_valid, keypoint_uv, keypoint_valid), early & episode.expert


def rows_to_imitate(episode: Episode) -> NDArray[np.int64]:
    """For each of T frames how many rows from it on are the expert's; all (4096) where that lasts to the end."""
    ends, steps = _end_of_run(episode.expert), len(episode.expert)
    return np.where(ends == steps, ALL_ROWS, ends - np.arange(steps))


def _keypoints(
    episode: Episode, contract: Contract, config: SwiftVLAConfig, ends: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The end effector's keypoints in the front image [T, f, 2], and which count [T, f]."""
    steps, front = len(episode.state), contract.camera_names[config.front_camera]
    if config.fusion is None:
        return np.zeros((steps, 0, 2), np.float32), np.zeros((steps, 0), bool)
    if (pose := episode.metadata.get("front_pose")) is not None:
        contract = contract.with_camera_pose(front, CameraPose(**pose))
    if contract.camera(front).pose is None or (contract.chain is None and contract.hand is None):
        # Nobody knows where the camera sees the arm: demonstrations still teach actions.
        shape = (steps, config.fusion.num_tokens)
        return np.zeros((*shape, 2), np.float32), np.zeros(shape, bool)
    times = np.arange(steps)
    if contract.hand is not None:
        tip = episode.state[:, :3].astype(np.float64)  # a hand's state begins with where it is
    else:
        tip = contract.end_effector_position(episode.action.astype(np.float64))
    tip_uv = contract.project(front, tip).astype(np.float32)
    ahead = times[:, None] + np.array(config.fusion.keypoint_steps)
    goals = np.array([k + int(np.argmin(np.where(episode.expert[k:], tip[k:, 2], np.inf))) for k in range(steps)])
    keypoint_uv = np.concatenate([tip_uv[goals][:, None], tip_uv[np.minimum(ahead, steps - 1)]], axis=1)
    future_valid = ahead < np.where(ends == steps, np.iinfo(np.int64).max, ends)[:, None]
    return keypoint_uv, np.concatenate([episode.expert[:, None], future_valid], axis=1) & episode.expert[:, None]


def _end_of_run(expert: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each frame, the first later frame (or itself) that the expert did not command; T where there is none."""
    ends = np.empty(len(expert), np.int64)
    end = len(expert)
    for k in range(len(expert) - 1, -1, -1):
        if not expert[k]:
            end = k
        ends[k] = end
    return ends
