# SPDX-License-Identifier: Apache-2.0
"""The geometry transformer as a stream for those who know no torch: images in, the front view's features out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from .cache import StreamCache
from .checkpoint import load_geometry
from .transformer import pool_tokens

Precision = Literal["float32", "bfloat16"]

TOKENS = 64
"""Tokens of a step, as the policy reads them."""


class FeatureStream:
    """Streams of several episodes side by side, each seen through several window lengths at once.

    Parameters
    ----------
    folder
        The geometry checkpoint.
    device
        cpu or cuda.
    precision
        ``bfloat16`` multiplies matrices in it and keeps the rest: faster, and features differ by some 0.5 % of their
        spread.

    Raises
    ------
    GeometryCheckpointError
        The checkpoint can't be used.
    """

    def __init__(self, folder: Path, *, device: str = "cpu", precision: Precision = "float32") -> None:
        self._net = load_geometry(folder, device)
        self._device = torch.device(device)
        self._bfloat16 = precision == "bfloat16"
        self._windows = 0
        self._cache: StreamCache | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, px."""
        return self._net.config.image_size

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return TOKENS

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self._net.config.feature_dim

    def start(self, episodes: int, cache_steps: Sequence[int]) -> None:
        """Forget the past: the next step is the first of ``episodes`` streams, each with every K of ``cache_steps``."""
        self._windows = len(cache_steps)
        self._cache = self._net.start(episodes * len(cache_steps), torch.tensor(cache_steps).repeat(episodes))

    @torch.no_grad()
    def step(
        self, images: UInt8[np.ndarray, "episodes views h w 3"]
    ) -> Float32[np.ndarray, "episodes windows tokens dim"]:
        """Take the next step of every episode, and return the features of the last view; :meth:`start` comes first."""
        assert self._cache is not None
        pixels = torch.from_numpy(images).to(self._device).movedim(-1, -3).float() / 255
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            out, self._cache = self._net.step(pixels, self._cache)
        pooled = pool_tokens(out.features[:, -1], self._net.config.grid, TOKENS)
        features: np.ndarray = pooled.float().unflatten(0, (-1, self._windows)).cpu().numpy()
        return features
