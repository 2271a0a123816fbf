# SPDX-License-Identifier: Apache-2.0
"""One vector for what the vision encoder made of an image: small enough to be published with every chunk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def pooled(tokens: Array) -> Array:
    """The tokens' mean over each quarter of the image: [p, d] → [4·d]; p is a square, row by row."""
    return np.concatenate([quarter.mean(axis=(0, 1)) for quarter in quarters(tokens)])


def quarters(tokens: Array) -> list[Array]:
    """The tokens [p, d] of the image's quarters, each [h, w, d], row by row."""
    side = int(len(tokens) ** 0.5)
    square, half = tokens[: side * side].reshape(side, side, -1), (side + 1) // 2
    return [square[i : i + half, j : j + half] for i in (0, side - half) for j in (0, side - half)]
