# SPDX-License-Identifier: Apache-2.0
"""Does the policy listen? Accuracy before the first motion, and whether the answer changes with the word.

Aggregate losses look fine while the instruction is ignored, because after a few steps the arm's own motion gives the
target away. These gauges look at still scenes only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.training.samples import Batch, SceneSamples

# A keypoint this near the right block (share of the image, about a block's width), and nearest to it, is right.
_RADIUS = 0.085
# Chunks differ when some commanded joint differs by more than this, rad: more than what noise in an image does.
_CHUNK_DIFFERENCE_RAD = 0.03

Keypoint = Callable[[Batch], NDArray[np.float32]]
ChunkOf = Callable[[Batch], NDArray[np.float32]]


@dataclass(frozen=True)
class Listening:
    """Shares of still scenes, 0…1."""

    first_step_accuracy: float  # instructions for which the goal keypoint lies on the right block before any motion
    answers_change: float  # scenes in which every colour word gives another nearest block
    chunks_change: float  # scenes in which every colour word gives another chunk; NaN where no chunks were asked for


def listening(scenes: SceneSamples, goal_keypoint: Keypoint, chunk: ChunkOf | None, count: int = 200) -> Listening:
    """Measure on the first ``count`` held-out scenes, with one instruction for each colour.

    ``goal_keypoint`` gives a batch's goal keypoints (u, v) [b, 2], ``chunk`` its chunks [b, H, J] in rad; None before
    the policy stage.
    """
    count = min(count, len(scenes))
    index = np.arange(count)
    first_of_color = [
        np.array([int(np.flatnonzero(scenes.target_color[s] == color)[0]) for s in index])
        for color in np.unique(scenes.target_color)
    ]
    blocks = np.stack([scenes.target_uv[index, which] for which in first_of_color], axis=1)
    right, answers, chunks = [], [], []
    for color, which in enumerate(first_of_color):
        batch = scenes.take(index, which)
        distance = np.linalg.norm(blocks - goal_keypoint(batch)[:, None], axis=-1)
        answers.append(distance.argmin(axis=1))
        right.append((answers[-1] == color) & (distance[:, color] < _RADIUS))
        if chunk is not None:
            chunks.append(chunk(batch))
    different = np.ones(count, bool)
    changed = np.ones(count, bool)
    for a in range(len(first_of_color)):
        for b in range(a):
            different &= answers[a] != answers[b]
            if chunk is not None:
                changed &= np.abs(chunks[a] - chunks[b]).max(axis=(1, 2)) > _CHUNK_DIFFERENCE_RAD
    return Listening(
        float(np.mean(right)), float(np.mean(different)), float(np.mean(changed)) if chunk is not None else float("nan")
    )
