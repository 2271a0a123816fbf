# SPDX-License-Identifier: Apache-2.0
"""The 4D visual geometry transformer whole: over a sequence at once, or frame by frame as a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from swiftvla_ros.geometry.aggregator import Aggregator
from swiftvla_ros.geometry.cache import StreamCache
from swiftvla_ros.geometry.config import GeometryConfig
from swiftvla_ros.geometry.dpt import DPTHead
from swiftvla_ros.geometry.heads import CameraHead, PatchHead, activate_depth, activate_points
from swiftvla_ros.geometry.layers import Attend, attention
from swiftvla_ros.geometry.window import CausalWindow, Window

HEADS = ("depth", "camera", "points")


class GeometryOutput(NamedTuple):
    """What the transformer says about frames; ``...`` is ``b t v`` for a sequence and ``b v`` for a step of a stream.

    Lengths are in the unit of the training data (metres for geometry-nano, the scene's own for the public weights).
    """

    # Patch tokens of the last pair, row-major over the image.
    features: Float[Tensor, "... p 2*dim"]
    # Depth along the optical axis, and a confidence above 1.
    depth: Float[Tensor, "... h w"] | None = None
    depth_confidence: Float[Tensor, "... h w"] | None = None
    # Camera from world, see CameraHead. The world is the camera frame of the first step's first view.
    pose: Float[Tensor, "... 9"] | None = None
    # The pose after every refinement, the last of which is ``pose``: a trainer's loss wants them all.
    pose_refinements: Float[Tensor, "i ... 9"] | None = None
    # Points in the world frame, and a confidence above 1.
    points: Float[Tensor, "... h w 3"] | None = None
    points_confidence: Float[Tensor, "... h w"] | None = None


class GeometryTransformer(nn.Module):
    """VGGT's architecture with StreamVGGT's causal attention: images in, geometry and its features out."""

    def __init__(self, config: GeometryConfig) -> None:
        super().__init__()
        self.config = config
        self.aggregator = Aggregator(config)
        self.camera_head = CameraHead(config)
        dense = DPTHead if config.dense.kind == "dpt" else PatchHead
        self.depth_head = dense(config, channels=2)
        self.point_head = dense(config, channels=4)

    def forward(
        self,
        images: Float[Tensor, "b t v 3 h w"],
        window: Window = None,
        anchor: bool = False,
        heads: Sequence[str] = HEADS,
    ) -> GeometryOutput:
        """A whole sequence in one causal pass.

        Parameters
        ----------
        images
            RGB in [0, 1]; views in one order throughout, wrist cameras first, front last: a view sees those before it.
        window
            K: a frame sees its own step and the K - 1 before. One number, one per sample, or None for no limit.
        anchor
            Whether step 0 stays visible for good.
        heads
            Which of ``HEADS`` to compute.

        Raises
        ------
        ValueError
            Images of another shape than the configuration's, an unknown head, a window below 1.
        """
        self._check(images, heads, ndim=6)
        t, v = images.shape[1:3]
        between: Attend = attention
        if self.config.causal:
            between = CausalWindow(t, v, window, anchor, images.device)
        elif window is not None or anchor:
            raise ValueError("window and anchor are for causal attention; this network sees all frames at once")
        frames = images.flatten(1, 2)
        tokens = self.aggregator.embed(frames, first=True)
        out = self._decode(tokens, frames, heads, lambda *_: between)
        return _split_frames(out, (t, v))

    def start(self, batch: int, window: Window, anchor: bool = False) -> StreamCache:
        """The empty cache of a stream of ``batch`` samples that remember the last ``window`` steps.

        Raises ValueError without a window, for one below 1, or a network that is not causal.
        """
        if not self.config.causal:
            raise ValueError("this network sees all frames at once (causal is false in its configuration): no stream")
        return StreamCache(batch, window, anchor)

    @torch.no_grad()
    def step(
        self, images: Float[Tensor, "b v 3 h w"], cache: StreamCache, heads: Sequence[str] = ()
    ) -> tuple[GeometryOutput, StreamCache]:
        """One time step of a stream: what :meth:`forward` gives for it, at the cost of one step.

        Parameters
        ----------
        images
            As for :meth:`forward`. Fewer samples than the cache has are encoded once and serve equally many of its
            samples each, one after the other: scenes seen through several windows.
        cache
            From :meth:`start` or the step before; changed in place.
        heads
            Which of ``HEADS`` to compute. "camera" remembers past camera tokens, so it must be there from the first
            step on.

        Raises
        ------
        ValueError
            Images of another shape than the configuration's or the cache's, an unknown head, a camera's missing past.
        """
        self._check(images, heads, ndim=5)
        shared, rest = divmod(cache.batch, images.shape[0])
        if rest:
            raise ValueError(f"images of {images.shape[0]} samples for a stream of {cache.batch}")
        cache.advance(images.shape[1])
        tokens = self.aggregator.embed(images, first=cache.step == 0)
        tokens, images = (x.repeat_interleave(shared, dim=0) for x in (tokens, images))
        return self._decode(tokens, images, heads, cache.ring), cache

    def _decode(
        self,
        tokens: Float[Tensor, "b f p dim"],
        frames: Float[Tensor, "b f 3 h w"],
        heads: Sequence[str],
        attend: Callable[..., Attend],
    ) -> GeometryOutput:
        special, last = self.config.special_tokens, self.config.num_pairs - 1
        dense = {"depth": self.depth_head, "points": self.point_head}
        layers = {last}.union(*(head.layers for name, head in dense.items() if name in heads))
        aggregated = self.aggregator.aggregate(tokens, lambda layer: attend("global", layer), layers)
        out = GeometryOutput(features=aggregated[last][:, :, special:])
        if "camera" in heads:
            poses = self.camera_head(
                aggregated[last][:, :, 0], lambda iteration, layer: attend("camera", iteration, layer)
            )
            out = out._replace(pose=poses[-1], pose_refinements=poses)
        shape = frames.shape[:2]
        maps = {
            name: head([aggregated[i][:, :, special:].flatten(0, 1) for i in head.layers], frames.flatten(0, 1))
            for name, head in dense.items()
            if name in heads
        }
        if "depth" in maps:
            depth, confidence = (x.unflatten(0, shape) for x in activate_depth(maps["depth"]))
            out = out._replace(depth=depth, depth_confidence=confidence)
        if "points" in maps:
            points, confidence = (x.unflatten(0, shape) for x in activate_points(maps["points"]))
            out = out._replace(points=points, points_confidence=confidence)
        return out

    def _check(self, images: Tensor, heads: Sequence[str], ndim: int) -> None:
        expected = (3, *self.config.image_size)
        if images.ndim != ndim or tuple(images.shape[-3:]) != expected:
            lead = "batch, step, view" if ndim == 6 else "batch, view"
            raise ValueError(f"images {tuple(images.shape)}: expected ({lead}, {', '.join(map(str, expected))})")
        unknown = set(heads) - set(HEADS)
        if unknown:
            raise ValueError(f"unknown heads {sorted(unknown)}: there are {', '.join(HEADS)}")


def pool_tokens(
    features: Float[Tensor, "... p dim"], grid: tuple[int, int], tokens: int = 64
) -> Float[Tensor, "... tokens dim"]:
    """Mean patch tokens over a square of ``tokens`` cells: what the policy reads of a frame.

    Raises ValueError where ``tokens`` is no square, or ``grid`` is not the features'.
    """
    side = round(tokens**0.5)
    if side**2 != tokens:
        raise ValueError(f"{tokens} tokens make no square")
    if grid[0] * grid[1] != features.shape[-2]:
        raise ValueError(f"features of {features.shape[-2]} patches are no grid of {grid[0]}×{grid[1]}")
    if grid == (side, side):
        return features
    lead, dim = features.shape[:-2], features.shape[-1]
    maps = features.reshape(-1, *grid, dim).movedim(-1, 1)
    pooled: Tensor = F.adaptive_avg_pool2d(maps, side)
    return pooled.flatten(2).transpose(1, 2).reshape(*lead, tokens, dim)


def _split_frames(out: GeometryOutput, steps_views: tuple[int, int]) -> GeometryOutput:
    """The frame axis as steps and views."""
    axis = {name: 2 if name == "pose_refinements" else 1 for name in out._fields}
    fields = {name: x.unflatten(axis[name], steps_views) for name, x in out._asdict().items() if x is not None}
    return out._replace(**fields)
