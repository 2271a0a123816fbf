# SPDX-License-Identifier: Apache-2.0
"""Rendered sequences as the geometry network's samples: images, depth, camera poses and points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.store import load_sequences


class GeometrySample(NamedTuple):
    """Sequences with the truth about them; the world is the camera frame of step 0's first view."""

    # RGB in [0, 1].
    images: Float[Tensor, "b t v 3 h w"]
    # Along the optical axis, m.
    depth: Float[Tensor, "b t v h w"]
    # As CameraHead says it: translation (m), quaternion x y z w with w ≥ 0, field of view (height, width; rad).
    pose: Float[Tensor, "b t v 9"]
    # What each pixel sees, in the world, m.
    points: Float[Tensor, "b t v h w 3"]

    def to(self, device: torch.device) -> GeometrySample:
        """Move all of it."""
        return GeometrySample(*(x.to(device) for x in self))


class SequenceSamples:
    """All sequences of some shards, in memory; EpisodeError where one can't be read, or is another robot's."""

    def __init__(self, paths: Sequence[Path], contract: Contract) -> None:
        shards = [load_sequences(path, contract) for path in paths]
        self.views = shards[0].views
        self.images = np.concatenate([shard.images for shard in shards])
        self.depth = np.concatenate([shard.depth for shard in shards])
        self._fov = np.concatenate([shard.fov for shard in shards])
        self._base_from_camera = np.concatenate([shard.base_from_camera for shard in shards]).astype(np.float64)
        self.pose, _ = _relative(self._base_from_camera, self._fov)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def steps(self) -> int:
        """Of every sequence."""
        return self.images.shape[1]

    def take(
        self, rows: NDArray[np.integer], starts: NDArray[np.integer] | int = 0, steps: int | None = None
    ) -> GeometrySample:
        """The sequences of ``rows``, ``steps`` steps from ``starts`` on (default: whole)."""
        at = (np.asarray(rows)[:, None], np.reshape(starts, (-1, 1)) + np.arange(steps or self.steps))
        images = torch.from_numpy(self.images[at]).movedim(-1, -3).float() / 255
        depth = self.depth[at].astype(np.float32)
        pose, world_from_camera = _relative(self._base_from_camera[at], self._fov[at])
        in_camera = depth[..., None] * rays(self._fov[at], depth.shape[-2:])
        turn, shift = (x.astype(np.float32) for x in (world_from_camera[..., :3, :3], world_from_camera[..., :3, 3]))
        points = in_camera.reshape(*turn.shape[:3], -1, 3) @ turn.swapaxes(-1, -2) + shift[..., None, :]
        return GeometrySample(
            images, torch.from_numpy(depth), torch.from_numpy(pose), torch.from_numpy(points.reshape(in_camera.shape))
        )


def _relative(
    base_from_camera: NDArray[np.float64], fov: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Poses [b, t, v, 9] and world-from-camera [b, t, v, 4, 4], the first step's first view being the world."""
    world_from_camera: NDArray[np.float64] = np.linalg.inv(base_from_camera[:, :1, :1]) @ base_from_camera
    camera_from_world: NDArray[np.float64] = np.linalg.inv(world_from_camera).astype(np.float64)
    quaternion = quaternions(camera_from_world[..., :3, :3])
    pose = np.concatenate([camera_from_world[..., :3, 3], quaternion, fov], axis=-1)
    return pose.astype(np.float32), world_from_camera


def rays(fov: NDArray[np.floating], size: tuple[int, ...]) -> NDArray[np.float32]:
    """What every pixel's centre looks along, float32 [..., h, w, 3]: x right, y down, z = 1.

    ``fov`` [..., 2] is the vertical and horizontal field of view, rad; ``size`` height and width, px.
    """
    height, width = size
    down, right = (np.tan(np.asarray(fov)[..., i, None, None] / 2) for i in (0, 1))
    y = ((np.arange(height) + 0.5) * 2 / height - 1)[:, None]
    x = (np.arange(width) + 0.5) * 2 / width - 1
    parts = np.broadcast_arrays(right * x, down * y, 1.0)
    return np.stack(parts, axis=-1).astype(np.float32)


def quaternions(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrices [..., 3, 3] as unit quaternions x y z w [..., 4] with w ≥ 0."""
    r = rotation
    xx, yy, zz = (r[..., i, i] for i in range(3))
    # Rows are the quaternion times 4x, 4y, 4z and 4w: the longest is the exactest.
    a, b, c = r[..., 1, 0] + r[..., 0, 1], r[..., 0, 2] + r[..., 2, 0], r[..., 2, 1] + r[..., 1, 2]
    d, e, f = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    rows = np.stack(
        [
            np.stack([1 + xx - yy - zz, a, b, d], axis=-1),
            np.stack([a, 1 - xx + yy - zz, c, e], axis=-1),
            np.stack([b, c, 1 - xx - yy + zz, f], axis=-1),
            np.stack([d, e, f, 1 + xx + yy + zz], axis=-1),
        ],
        axis=-2,
    )
    length = np.linalg.norm(rows, axis=-1)
    best = np.take_along_axis(rows, length.argmax(axis=-1)[..., None, None], axis=-2)[..., 0, :]
    unit: NDArray[np.float64] = best / np.linalg.norm(best, axis=-1, keepdims=True)
    return np.where(unit[..., 3:] < 0, -unit, unit)
