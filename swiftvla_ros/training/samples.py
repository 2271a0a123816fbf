# SPDX-License-Identifier: Apache-2.0
"""Training samples in memory: demonstrations with chunks and keypoints, and grounding scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.store import Episode, GroundingScenes, load_episode, load_scenes
from swiftvla_ros.model.config import SwiftVLAConfig

# Frames at the start of an episode, and after a disturbance ended, are drawn more often: only there does the word alone
# decide where to go; a few steps later the arm's own motion gives the target away.
EARLY_FRAMES = 3
EARLY_SHARE = 0.35

Tokenize = Callable[[str], NDArray[np.int64]]


@dataclass(frozen=True)
class Batch:
    """One batch as numpy arrays; the trainer normalises and moves it to the device.

    ``images`` uint8 [b, cams, h, w, 3], ``tokens`` b arrays of ids, ``state`` [b, J] and ``actions`` [b, H, J]
    (relative to the state) in SI, ``row_valid`` [b, H], ``keypoint_uv`` [b, f, 2], ``keypoint_valid`` [b, f].
    """

    images: NDArray[np.uint8]
    tokens: list[NDArray[np.int64]]
    state: NDArray[np.float32]
    actions: NDArray[np.float32]
    row_valid: NDArray[np.bool_]
    keypoint_uv: NDArray[np.float32]
    keypoint_valid: NDArray[np.bool_]

    @staticmethod
    def join(parts: Sequence[Batch]) -> Batch:
        """One batch after the other."""

        def cat(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(part, name) for part in parts])

        return Batch(
            images=cat("images"),
            tokens=[tokens for part in parts for tokens in part.tokens],
            state=cat("state"),
            actions=cat("actions"),
            row_valid=cat("row_valid"),
            keypoint_uv=cat("keypoint_uv"),
            keypoint_valid=cat("keypoint_valid"),
        )


class EpisodeSamples:
    """Frames of demonstrations; a sample is a frame that the expert commanded, its chunk and its keypoints."""

    def __init__(self, paths: Sequence[Path], contract: Contract, config: SwiftVLAConfig, tokenize: Tokenize) -> None:
        front = contract.camera_names[config.front_camera]
        episodes = [load_episode(path, contract) for path in paths]
        per_episode = [_label(episode, contract, config, front) for episode in episodes]
        self.images = np.concatenate([np.stack([e.images[n] for n in contract.camera_names], axis=1) for e in episodes])
        self.state = np.concatenate([e.state for e in episodes])
        self.actions, self.row_valid, self.keypoint_uv, self.keypoint_valid, early = (
            np.concatenate([labels[i] for labels in per_episode]) for i in range(5)
        )
        self.tokens = [tokenize(e.instruction) for e in episodes]
        self.episode = np.concatenate([np.full(len(e.state), i) for i, e in enumerate(episodes)])
        usable = self.row_valid[:, 0]
        self.frames = np.flatnonzero(usable)
        self.early_frames = np.flatnonzero(usable & early)

    def valid_actions(self) -> NDArray[np.float32]:
        """All rows of all chunks that count, [N, J]: what the action statistics are taken from."""
        return self.actions[self.row_valid]

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """Random frames."""
        early = rng.random(count) < EARLY_SHARE
        frames = np.where(early, rng.choice(self.early_frames, count), rng.choice(self.frames, count))
        return self.take(frames)

    def take(self, frames: NDArray[np.int64]) -> Batch:
        """The samples at ``frames``."""
        return Batch(
            images=self.images[frames],
            tokens=[self.tokens[self.episode[f]] for f in frames],
            state=self.state[frames],
            actions=self.actions[frames],
            row_valid=self.row_valid[frames],
            keypoint_uv=self.keypoint_uv[frames],
            keypoint_valid=self.keypoint_valid[frames],
        )


class SceneSamples:
    """Still scenes with referring instructions: the goal keypoint is known, there is no action."""

    def __init__(self, paths: Sequence[Path], contract: Contract, config: SwiftVLAConfig, tokenize: Tokenize) -> None:
        shards: list[GroundingScenes] = [load_scenes(path, contract) for path in paths]
        self.config = config
        self.images = np.concatenate([np.stack([s.images[n] for n in contract.camera_names], axis=1) for s in shards])
        self.state = np.concatenate([s.state for s in shards])
        self.target_uv = np.concatenate([s.target_uv for s in shards])
        self.target_color = np.concatenate([s.target_color for s in shards])
        self.instructions = [texts for s in shards for texts in s.instructions]
        self.tokens = [[tokenize(text) for text in texts] for texts in self.instructions]

    def __len__(self) -> int:
        return len(self.state)

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """Random scenes, each with one of its instructions."""
        return self.take(rng.integers(len(self), size=count), rng.integers(self.target_uv.shape[1], size=count))

    def take(self, scenes: NDArray[np.int64], which: NDArray[np.int64]) -> Batch:
        """The scenes at ``scenes``, each with its instruction number ``which``."""
        count, config = len(scenes), self.config
        keypoint_uv = np.zeros((count, config.fusion.num_tokens, 2), np.float32)
        keypoint_uv[:, 0] = self.target_uv[scenes, which]
        keypoint_valid = np.zeros((count, config.fusion.num_tokens), bool)
        keypoint_valid[:, 0] = True
        return Batch(
            images=self.images[scenes],
            tokens=[self.tokens[s][k] for s, k in zip(scenes, which, strict=True)],
            state=self.state[scenes],
            actions=np.zeros((count, config.horizon, self.state.shape[1]), np.float32),
            row_valid=np.zeros((count, config.horizon), bool),
            keypoint_uv=keypoint_uv,
            keypoint_valid=keypoint_valid,
        )


def _label(
    episode: Episode, contract: Contract, config: SwiftVLAConfig, front: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Chunks [T, H, J], their valid rows, keypoints [T, f, 2], their validity, and which frames are early."""
    steps = len(episode.state)
    ends = _end_of_run(episode.expert)
    times = np.arange(steps)
    rows = times[:, None] + np.arange(config.horizon)
    # After the demonstration's end the arm stays where it was commanded last.
    inside = np.minimum(rows, steps - 1)
    actions = episode.action[inside] - episode.state[:, None]
    row_valid = rows < np.where(ends == steps, steps + config.horizon, ends)[:, None]

    tip = contract.end_effector_position(episode.action.astype(np.float64))
    tip_uv = contract.project(front, tip).astype(np.float32)
    ahead = times[:, None] + np.array(config.fusion.keypoint_steps)
    goals = np.array([k + int(np.argmin(np.where(episode.expert[k:], tip[k:, 2], np.inf))) for k in range(steps)])
    keypoint_uv = np.concatenate([tip_uv[goals][:, None], tip_uv[np.minimum(ahead, steps - 1)]], axis=1)
    future_valid = ahead < np.where(ends == steps, np.iinfo(np.int64).max, ends)[:, None]
    keypoint_valid = np.concatenate([episode.expert[:, None], future_valid], axis=1) & episode.expert[:, None]

    starts = episode.expert & ~np.concatenate([[False], episode.expert[:-1]])
    early = np.zeros(steps, bool)
    for start in np.flatnonzero(starts):
        early[start : start + EARLY_FRAMES] = True
    return actions.astype(np.float32), row_valid, keypoint_uv, keypoint_valid, early & episode.expert


def _end_of_run(expert: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each frame, the first later frame (or itself) that the expert did not command; T where there is none."""
    ends = np.empty(len(expert), np.int64)
    end = len(expert)
    for k in range(len(expert) - 1, -1, -1):
        if not expert[k]:
            end = k
        ends[k] = end
    return ends
