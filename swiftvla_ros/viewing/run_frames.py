# SPDX-License-Identifier: Apache-2.0
"""Moments of a run as images, with what the policy foresaw there: the Fusion Tokens' path and the chunk's rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Camera, Contract
from swiftvla_ros.contract.images import foreseen_path
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.observation.message_fields import ChunkMessage
from swiftvla_ros.policy.checkpoint import CheckpointError, open_checkpoint
from swiftvla_ros.resources import DEFAULT_CHECKPOINT, model_path
from swiftvla_ros.viewing.predicted_paths import PathPredictor, no_progress, predicted_paths
from swiftvla_ros.viewing.run_summary import Run


@dataclass(frozen=True)
class Frame:
    """One observation's image, and paths in it: (u, v) [n, 2], 0…1, where they are known."""

    camera: str  # whose image it is
    stamp_ns: int
    chunk_id: int
    image: NDArray[np.uint8]  # RGB uint8 [h, w, 3], as the policy saw it
    # How much higher than wide its pixels must be shown to look as the camera's: the policy's image may be squeezed.
    aspect: float
    path_uv: NDArray[np.float32] | None  # what the Fusion Tokens told, the goal first
    chunk_uv: NDArray[np.float64] | None  # where the chunk's rows lead the hand


def chunk_uv(contract: Contract, camera: str, chunk: ChunkMessage) -> NDArray[np.float64] | None:
    """Where a chunk's rows lead the end effector, (u, v) [H, 2] in a camera's image; None where nobody knows."""
    return foreseen_path(contract.chain, contract.camera(camera), chunk.positions)


def find_predictor(bag: Bag, run: Run, checkpoint: str | None) -> tuple[PathPredictor | None, str]:
    """Load the policy whose Fusion Tokens are drawn (the one named, else the recorded one), with what to know about it.

    There is none where the recorded checkpoint isn't here, and for a run without chunks. Raises CheckpointError where
    the checkpoint that was named can't be used.
    """
    if not run.chunks:
        return None, "no paths are drawn: the bag holds no chunks"
    recorded = {c.checkpoint_sha256 for c in run.chunks}
    if checkpoint is not None:
        predictor = PathPredictor(model_path(checkpoint), run.contract)
        same = predictor.checkpoint_sha256 in recorded
        return predictor, "" if same else f"paths are {checkpoint}'s, which is not the checkpoint of the recording"
    # An older recording doesn't name its checkpoint, but its hash may be the shipped one's.
    shipped = model_path(DEFAULT_CHECKPOINT)
    why = "the bag was recorded with another checkpoint than the shipped one"
    for folder in (Path(str(bag.provenance.get("checkpoint") or shipped)), shipped):
        found, problem = _if_recorded(folder, recorded, run.contract)
        if found is not None:
            return found, ""
        why = problem or why
    return None, f"the Fusion Tokens' paths are not drawn: {why}; name a checkpoint with --checkpoint"


def _if_recorded(folder: Path, recorded: set[str], contract: Contract) -> tuple[PathPredictor | None, str]:
    """Load a checkpoint if its hash is a recorded one, else say what is wrong with it, if anything."""
    try:
        if open_checkpoint(folder).sha256 not in recorded:
            return None, ""
        return PathPredictor(folder, contract), ""
    except CheckpointError as error:
        return None, str(error)


def front_camera(contract: Contract, predictor: PathPredictor | None) -> str:
    """Name the camera that paths are drawn in: the policy's, else the first one with a pose, else the first."""
    if predictor is not None:
        return predictor.front
    posed = [camera.name for camera in contract.cameras if camera.pose is not None]
    return (posed or list(contract.camera_names))[0]


def moments(run: Run, count: int) -> list[ChunkMessage]:
    """Choose chunks spread over a run, the first and the last among them."""
    if not run.chunks:
        return []
    picks = np.unique(np.linspace(0, len(run.chunks) - 1, count).round().astype(int))
    return [run.chunks[i] for i in picks]


def frames(
    bag: Bag,
    run: Run,
    predictor: PathPredictor | None,
    chunks: list[ChunkMessage],
    *,
    budget_s: float,
    progress: Callable[[int, int], object] = no_progress,
) -> list[Frame]:
    """Look at some chunks' observations again; chunks whose observation was not recorded are left out."""
    by_id, camera = {c.chunk_id: c for c in chunks}, front_camera(run.contract, predictor)
    aspect = pixel_aspect(run.contract.camera(camera))
    found = predicted_paths(bag, predictor, front=camera, budget_s=budget_s, progress=progress, chunk_ids=set(by_id))
    return [
        Frame(camera, p.stamp_ns, p.chunk_id, p.image, aspect, p.uv, chunk_uv(run.contract, camera, by_id[p.chunk_id]))
        for p in found
    ]


def pixel_aspect(camera: Camera) -> float:
    """Height of a pixel of the policy's image, in its widths, for the scene to look as the camera sees it."""
    if camera.fit != "stretch":
        return 1.0
    width, height = camera.crop[2:] if camera.crop is not None else camera.rotated_size
    return (height / camera.size[1]) / (width / camera.size[0])
