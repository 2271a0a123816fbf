# SPDX-License-Identifier: Apache-2.0
"""The one place where a camera image becomes what the policy sees, and where a point in space becomes a point of it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.kinematics import KinematicChain
from swiftvla_ros.contract.schema import Camera

_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def condition_image(image: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
    """Rotate, crop and resize an RGB image [H, W, 3] as the contract says, to [h, w, 3] with (w, h) = ``camera.size``.

    A size other than ``camera.source_size`` is allowed when its aspect ratio is the same (a smaller rendering, say);
    the crop is scaled with it. Anything else is a ValueError.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"camera {camera.name}: expected uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    height, width = image.shape[:2]
    if width * camera.source_size[1] != height * camera.source_size[0]:
        raise ValueError(
            f"camera {camera.name}: image of {width}×{height} px, but the contract's source_size is "
            f"{camera.source_size[0]}×{camera.source_size[1]}; correct source_size or the driver's resolution"
        )
    out: NDArray[np.uint8] = image
    if camera.rotate_deg:
        out = cv2.rotate(out, _ROTATIONS[camera.rotate_deg]).astype(np.uint8, copy=False)
    if camera.crop is not None:
        scale = width / camera.source_size[0]
        x, y, w, h = (round(v * scale) for v in camera.crop)
        out = out[y : y + h, x : x + w]
    if camera.fit == "stretch":
        return _resize(out, camera.size)
    x, y, w, h = _padded_region(out.shape[1], out.shape[0], camera.size)
    padded = np.zeros((camera.size[1], camera.size[0], 3), np.uint8)
    padded[y : y + h, x : x + w] = _resize(out, (w, h))
    return padded


def project(camera: Camera, xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Project points [..., 3] (m, base frame) into the policy's image; ValueError where the camera has no pose.

    Returns
    -------
    NDArray[np.float64]
        [..., 2]: u to the right and v down, 0…1 across the policy's image (outside it for points out of sight, NaN
        behind the camera).
    """
    if camera.pose is None:
        raise ValueError(f"camera {camera.name}: has no pose in the contract, so points can't be projected; add `pose`")
    x, y, z, w = camera.pose.quaternion_xyzw
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    local = (np.asarray(xyz, np.float64) - np.array(camera.pose.position_m)) @ rotation
    depth = np.where(local[..., 2] > 1e-6, local[..., 2], np.nan)
    width, height = camera.source_size
    focal = height / 2 / np.tan(np.radians(camera.pose.fovy_deg) / 2)
    px = width / 2 + focal * local[..., 0] / depth
    py = height / 2 + focal * local[..., 1] / depth
    if camera.pose.mirrored:
        px = width - px
    if camera.rotate_deg == 90:
        px, py = height - py, px
    elif camera.rotate_deg == 180:
        px, py = width - px, height - py
    elif camera.rotate_deg == 270:
        px, py = py, width - px
    x0, y0, w0, h0 = camera.crop or (0, 0, *camera.rotated_size)
    u, v = (px - x0) / w0, (py - y0) / h0
    if camera.fit == "pad":
        left, top, inner_w, inner_h = _padded_region(w0, h0, camera.size)
        u, v = (left + u * inner_w) / camera.size[0], (top + v * inner_h) / camera.size[1]
    return np.stack([u, v], axis=-1)


def foreseen_path(
    chain: KinematicChain | None, camera: Camera, rows: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Where joint positions ``rows`` [H, J] (rad or m) lead the end effector in the policy's image of a camera.

    Returns
    -------
    NDArray[np.float64] | None
        (u, v) [n, 2], 0…1, of the rows before the camera; None without kinematics or pose.
    """
    if chain is None or camera.pose is None:
        return None
    uv = project(camera, chain.pose(rows)[..., :3, 3])
    return uv[np.isfinite(uv).all(axis=1)]


def _padded_region(width: int, height: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """x, y, width, height of the picture inside a padded image of ``size``."""
    scale = min(size[0] / width, size[1] / height)
    w, h = round(width * scale), round(height * scale)
    return (size[0] - w) // 2, (size[1] - h) // 2, w, h


def _resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if (image.shape[1], image.shape[0]) == size:
        return image
    shrinks = size[0] <= image.shape[1] and size[1] <= image.shape[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR).astype(
        np.uint8, copy=False
    )
