# SPDX-License-Identifier: Apache-2.0
"""The geometry transformer as a stream for those who know no torch: images in, the front view's features out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from swiftvla_ros.geometry.cache import StreamCache
from swiftvla_ros.geometry.checkpoint import load_geometry
from swiftvla_ros.geometry.layers import Block
from swiftvla_ros.geometry.transformer import HEADS, GeometryOutput, pool_tokens

GeometryPrecision = Literal["float32", "bfloat16"]

TOKENS = 64
"""Tokens of a step, as the policy reads them."""

_MAPS = ("depth", "camera")
assert set(_MAPS) <= set(HEADS)


@dataclass(frozen=True)
class StreamStep:
    """What the transformer says about one step of several episodes."""

    features: Float32[np.ndarray, "episodes windows tokens dim"]  # features of the last view, per window length
    # Along the optical axis, in the unit of the training data; None without maps. Seen through the first window.
    depth: Float32[np.ndarray, "episodes views h w"] | None = None
    # Translation (3), quaternion x y z w (4, not normalised) and field of view, height then width (2, rad): camera from
    # world, the world being the first view's camera frame at the first step. None without maps.
    pose: Float32[np.ndarray, "episodes views 9"] | None = None


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
    maps
        Whether depth and camera poses are computed, too.
    between_blocks
        Called before every block of the transformer, by the thread that computes: it may wait there, so that whoever
        is more urgent gets the processor within a millisecond. Whatever it raises ends the step.

    Raises
    ------
    GeometryCheckpointError
        The checkpoint can't be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: str = "cpu",
        precision: GeometryPrecision = "float32",
        maps: bool = False,
        between_blocks: Callable[[], None] | None = None,
    ) -> None:
        self._net = load_geometry(folder, device)
        # Height and width of the images, px; a step is [tokens, dim].
        self.image_size, self.tokens, self.dim = self._net.config.image_size, TOKENS, self._net.config.feature_dim
        self._device = torch.device(device)
        self._bfloat16 = precision == "bfloat16"
        self._heads = _MAPS if maps else ()
        self._windows = 0
        self._cache: StreamCache | None = None
        # What else runs on a GPU goes first.
        self._queue = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        if between_blocks is not None:
            self._wait_between_blocks(between_blocks)

    def start(self, episodes: int, cache_steps: Sequence[int]) -> None:
        """Forget the past: the next step is the first of ``episodes`` streams, each with every K of ``cache_steps``."""
        self._windows = len(cache_steps)
        self._cache = self._net.start(episodes * len(cache_steps), torch.tensor(cache_steps).repeat(episodes))

    def step(
        self, images: UInt8[np.ndarray, "episodes views h w 3"]
    ) -> Float32[np.ndarray, "episodes windows tokens dim"]:
        """Take the next step of every episode, and return the features of the last view; :meth:`start` comes first."""
        return self.look(images).features

    @torch.no_grad()
    def look(self, images: UInt8[np.ndarray, "episodes views h w 3"]) -> StreamStep:
        """Take the next step of every episode, and return all that was asked for; :meth:`start` comes first.

        A step that ended with an exception leaves half of it in the cache: :meth:`start` again.
        """
        assert self._cache is not None
        cache, self._cache = self._cache, None
        with torch.cuda.stream(self._queue), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            pixels = torch.from_numpy(images).to(self._device).movedim(-1, -3).float() / 255
            out, cache = self._net.step(pixels, cache, self._heads)
            step = self._told(out)
        self._cache = cache
        return step

    def _told(self, out: GeometryOutput) -> StreamStep:
        pooled = pool_tokens(out.features[:, -1], self._net.config.grid, TOKENS)
        features: np.ndarray = pooled.float().unflatten(0, (-1, self._windows)).cpu().numpy()
        if out.depth is None or out.pose is None:
            return StreamStep(features)
        first = slice(None, None, self._windows)
        return StreamStep(features, out.depth[first].float().cpu().numpy(), out.pose[first].float().cpu().numpy())

    def _wait_between_blocks(self, wait: Callable[[], None]) -> None:
        def before(_module: Any, _arguments: Any) -> None:
            if self._queue is not None:
                # What was started already runs on: let it end, then wait with an empty queue.
                self._queue.synchronize()
            wait()

        for module in self._net.modules():
            if isinstance(module, Block):
                module.register_forward_pre_hook(before)
