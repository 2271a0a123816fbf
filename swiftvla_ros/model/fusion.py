# SPDX-License-Identifier: Apache-2.0
"""Fusion Tokens, and the end-effector trajectory head that supervises them in training (paper, eq. 1 and 6)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from swiftvla_ros.model.config import FusionConfig, SwiftVLAConfig


class FusionTokens(nn.Module):
    """Learned tokens at the end of the prefix: they read everything there and condition the action expert."""

    def __init__(self, fusion: FusionConfig, width: int) -> None:
        super().__init__()
        # As loud as the other embeddings after their scaling.
        self.tokens = nn.Parameter(torch.randn(fusion.num_tokens, width) * 0.02 * width**0.5)

    def forward(self, batch: int) -> Float[Tensor, "b f d"]:
        """The same tokens for every sample."""
        return self.tokens.expand(batch, -1, -1)


class Keypoints(NamedTuple):
    """Where the end effector is to be in the front view: pointed at (logits, uv), and regressed (waves)."""

    logits: Float[Tensor, "b f cells"]
    uv: Float[Tensor, "b f 2"]
    waves: Float[Tensor, "b f w"]


def countable(target_uv: Float[Tensor, "b f 2"], valid: Bool[Tensor, "b f"]) -> Bool[Tensor, "b f"]:
    """Which keypoints a loss counts: those that are known and lie inside the image."""
    return valid & ((target_uv >= 0) & (target_uv < 1)).all(dim=-1)


class TrajectoryHead(nn.Module):
    """h_traj: each Fusion Token's output tells its keypoint of the end effector's future path, in two ways.

    It points: a front-view token's output is split into cells, and a Fusion Token's query picks among all cells of the
    image. And it regresses (eq. 6): sines and cosines of the coordinates are a linear function of its output, so that
    whoever reads a Fusion Token reads a place. (u, v) is the expected value over the cells around the best one.
    """

    frequencies: Tensor

    def __init__(self, config: SwiftVLAConfig, fusion: FusionConfig) -> None:
        super().__init__()
        width = config.text.hidden_size
        self.side = config.vision.tokens_per_side
        self.split = fusion.cells_per_token
        self.cells = self.side * self.split
        self.query = nn.Linear(width, fusion.head_dim)
        self.key = nn.Linear(width, self.split**2 * fusion.head_dim)
        self.sigma = fusion.target_sigma_cells / self.cells
        self.coordinate_weight = fusion.coordinate_weight
        # Wavelengths from two images to an eighth of one.
        self.register_buffer("frequencies", torch.pi * 2.0 ** torch.arange(5), persistent=False)
        self.coordinates = nn.Linear(width, 2 * 2 * 5)

    def forward(self, fusion: Float[Tensor, "b f d"], front: Float[Tensor, "b n d"]) -> Keypoints:
        """Fusion Token outputs and the front view's token outputs → keypoints."""
        b, s, c = fusion.shape[0], self.side, self.split
        queries = self.query(fusion)
        keys = self.key(front).view(b, s, s, c, c, -1).permute(0, 1, 3, 2, 4, 5).reshape(b, (s * c) ** 2, -1)
        logits = (queries @ keys.transpose(1, 2)).float() * queries.shape[-1] ** -0.5
        return Keypoints(logits, self._expected(logits), self.coordinates(fusion).float())

    def loss(
        self,
        keypoints: Keypoints,
        target_uv: Float[Tensor, "b f 2"],
        valid: Bool[Tensor, "b f"],
        front_present: Bool[Tensor, " b"],
    ) -> Float[Tensor, "b f"]:
        """Cross-entropy with a small Gaussian around the target, plus the regression's squared error.

        0 where the target is not :func:`countable`. Without a front view nothing can be pointed at, so there the
        regression alone counts.
        """
        uv = torch.nan_to_num(target_uv.float(), nan=-1.0)
        distance = (self._centres(uv.device) - uv[..., None, :]).square().sum(dim=-1)
        target = (-distance / (2 * self.sigma**2)).softmax(dim=-1)
        entropy = -(target * keypoints.logits.log_softmax(dim=-1)).sum(dim=-1) * front_present[:, None]
        phase = (uv[..., None] * self.frequencies).flatten(-2)
        waves = torch.cat([phase.sin(), phase.cos()], dim=-1)
        error = self.coordinate_weight * (keypoints.waves - waves).square().mean(dim=-1)
        return (entropy + error) * countable(target_uv, valid)

    def _centres(self, device: torch.device) -> Float[Tensor, "cells 2"]:
        axis = (torch.arange(self.cells, device=device) + 0.5) / self.cells
        v, u = torch.meshgrid(axis, axis, indexing="ij")
        return torch.stack([u, v], dim=-1).flatten(0, 1)

    def _expected(self, logits: Float[Tensor, "b f cells"]) -> Float[Tensor, "b f 2"]:
        """Expected (u, v) within 1.5 cells of the best one: a far second mode must not pull the point between two."""
        centres = self._centres(logits.device)
        best = centres[logits.argmax(dim=-1)]
        near = (centres - best[..., None, :]).abs().amax(dim=-1) * self.cells < 1.6
        return logits.masked_fill(~near, float("-inf")).softmax(dim=-1) @ centres
