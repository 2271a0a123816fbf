# SPDX-License-Identifier: Apache-2.0
"""Where the policy saw the end effector go: its Fusion Tokens' keypoints, computed again from what it saw then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.policy import CheckpointError, Observation, load_checkpoint
from swiftvla_ros.policy.checkpoint import open_checkpoint
from swiftvla_ros.policy.runtime import RuntimeOptions
from swiftvla_ros.replay.recorded import RecordedObservation, observations, read_run


@dataclass(frozen=True)
class PredictedPath:
    """What the Fusion Tokens told at one observation."""

    stamp_ns: int  # the observation's
    chunk_id: int  # the chunk that was computed from it
    image: NDArray[np.uint8]  # what the policy saw there: RGB uint8 [h, w, 3] of the front camera
    # float32 [f, 2] in that image, 0…1: the goal keypoint first, then the path from near to far. None where nobody was
    # asked.
    uv: NDArray[np.float32] | None


def no_progress(_done: int, _total: int) -> None:
    """Tell nobody."""


class PathPredictor:
    """A policy that is asked for its Fusion Tokens; ``threads`` None leaves torch's default.

    Raises CheckpointError where the checkpoint doesn't fit the contract, has no Fusion Tokens, or its auxiliary file is
    missing.
    """

    def __init__(self, folder: Path, contract: Contract, threads: int | None = None) -> None:
        checkpoint = open_checkpoint(folder)
        if not checkpoint.model.fusion:
            raise CheckpointError(
                f"checkpoint '{folder}': has no Fusion Tokens (config.json: model.fusion), so it tells no path"
            )
        if not checkpoint.auxiliary.is_file():
            raise CheckpointError(
                f"{checkpoint.auxiliary}: missing; the head that reads paths from the Fusion Tokens lies in it: copy "
                "it, too, from where the checkpoint was trained"
            )
        self._policy = load_checkpoint(folder, contract, RuntimeOptions("torch", threads=threads))
        self.checkpoint_sha256 = checkpoint.sha256
        self.front = checkpoint.camera_names[checkpoint.model.front_camera]

    def predict(self, observation: Observation) -> NDArray[np.float32]:
        """Keypoints (u, v) [f, 2] in the image of the camera :attr:`front`, the goal first."""
        return self._policy.keypoints(observation)


def predicted_paths(
    bag: Bag,
    predictor: PathPredictor | None,
    *,
    front: str,
    budget_s: float,
    progress: Callable[[int, int], object] = no_progress,
    chunk_ids: set[int] | None = None,
) -> Iterator[PredictedPath]:
    """Compute the paths of a bag's chunks from the recorded observations, in the order of recording.

    Where ``budget_s`` is too short for all, chunks are left out evenly over the run. Chunks whose observation was not
    recorded whole are left out, too. Without a predictor the images of the camera ``front`` are given alone; of chunks
    only those of ``chunk_ids``, where they are named. ``progress`` is told how many chunks of how many were looked at.
    Raises BagError where the bag holds no chunks.
    """
    run = read_run(bag)
    if chunk_ids is not None:
        run = replace(run, chunks=[c for c in run.chunks if c.chunk_id in chunk_ids])
    total, spent_s = len(run.chunks), 0.0
    for i, recorded in enumerate(observations(run)):
        progress(i, total)
        # Behind the pace that reaches the end in time: this one is left out.
        if spent_s > budget_s * i / total:
            continue
        begin = time.monotonic()
        uv = None if predictor is None else _predict(predictor, recorded)
        spent_s += time.monotonic() - begin
        if front in recorded.images and (uv is not None or predictor is None):
            yield PredictedPath(recorded.chunk.stamp_ns, recorded.chunk.chunk_id, recorded.images[front], uv)
    progress(total, total)


def _predict(predictor: PathPredictor, recorded: RecordedObservation) -> NDArray[np.float32] | None:
    if recorded.missing or recorded.state is None:
        return None
    return predictor.predict(Observation(recorded.images, recorded.state, recorded.chunk.instruction))
