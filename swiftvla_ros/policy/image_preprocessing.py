# SPDX-License-Identifier: Apache-2.0
"""Images as a network reads them, for every runtime and for training: to the last bit as torch prepares them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# How an image comes to the network's size: config.json, key "image_fit". "exact" is the contract's business; "pad top
# and left" is lerobot's: the aspect ratio is kept and the image lies in the lower right corner.
EXACT, PAD_TOP_LEFT = "exact", "pad top and left"


def prepare_images(images: Sequence[NDArray[np.uint8]], fit: str, side: int) -> Array:
    """Camera images, RGB uint8 [h, w, 3] each, in the network's order → float32 [cams, 3, side, side] in [-1, 1].

    ``fit`` is :data:`EXACT` or :data:`PAD_TOP_LEFT`; ``side`` is the width and height that the network reads, px.
    """
    if fit == PAD_TOP_LEFT:
        return np.stack([pad_top_left(image, side) for image in images])
    return to_network_range(np.stack(images))


def to_network_range(images: NDArray[np.uint8]) -> Array:
    """RGB uint8 [..., h, w, 3] → float32 [..., 3, h, w] in [-1, 1] (SigLIP's normalisation)."""
    values = images.astype(np.float32)
    values /= np.float32(127.5)
    values -= np.float32(1.0)
    # A view: kernels choose their order of summation by the strides, so these are part of what must not change.
    return np.moveaxis(values, -1, -3)


def pad_top_left(image: NDArray[np.uint8], side: int) -> Array:
    """RGB uint8 [h, w, 3] of any size → float32 [3, side, side] in [-1, 1], as lerobot's SmolVLA sees it.

    The image keeps its aspect ratio and lies in the lower right corner; the rest is black.
    """
    height, width = image.shape[:2]
    ratio = max(width / side, height / side)
    inner = int(height / ratio), int(width / ratio)
    picture = image.astype(np.float32) / np.float32(255.0)
    if inner != (height, width):
        picture = _resize(picture, *inner)
    padded = np.zeros((side, side, 3), np.float32)
    padded[side - inner[0] :, side - inner[1] :] = picture
    return np.ascontiguousarray(np.moveaxis(padded * np.float32(2.0) - np.float32(1.0), -1, 0))


def _resize(picture: Array, height: int, width: int) -> Array:
    """Bilinear, without anti-aliasing: torch's `interpolate`, pixel centres at half numbers."""
    above, below, low_y, high_y = _neighbours(picture.shape[0], height)
    left, right, low_x, high_x = _neighbours(picture.shape[1], width)
    channels = np.arange(3)
    # Pixels are mixed along x once for every row that is read, and all channels are columns of one table: much faster.
    rows, place = np.unique(np.concatenate([above, below]), return_inverse=True)
    table = picture[rows].reshape(len(rows), -1)
    one, other = (table.take((3 * column[:, None] + channels).ravel(), axis=1) for column in (left, right))
    table = _mix(one, low_x.repeat(3), other, high_x.repeat(3))
    mixed = _mix(table[place[:height]], low_y[:, None], table[place[height:]], high_y[:, None])
    return mixed.reshape(height, width, 3)


def _mix(one: Array, share: Array, other: Array, other_share: Array) -> Array:
    """``one * share + other * other_share`` with a single rounding of the first product and the sum, as fused."""
    total = np.multiply(one, share, dtype=np.float64)
    total += other * other_share
    return total.astype(np.float32)


def _neighbours(size: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Array, Array]:
    """For each of ``wanted`` pixels the two of ``size`` between which it lies, and the share of each."""
    scale = np.float64(np.float32(size) / np.float32(wanted))
    place = np.maximum(((np.arange(wanted) + 0.5) * scale - 0.5).astype(np.float32), np.float32(0.0))
    low = np.minimum(place.astype(np.intp), size - 1)
    share = np.clip(place - low.astype(np.float32), np.float32(0.0), np.float32(1.0))
    return low, np.minimum(low + 1, size - 1), np.float32(1.0) - share, share
