# SPDX-License-Identifier: Apache-2.0
"""What a network must tell of frozen features: reconstruction from the latent (paper, eq. 7), alignment of a layer."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swiftvla_ros.model.attention import attend

_HEADS, _HEAD_DIM = 4, 32


class Standardizer(nn.Module):
    """Per-channel mean and deviation of frozen features; set once, from the data that is trained on.

    Without it, a few loud channels would be all that a reconstruction is judged by.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def fit(self, features: Float[Tensor, "... d"]) -> None:
        """Take mean and deviation from a sample of features."""
        flat = features.detach().float().flatten(0, -2)
        self.mean.copy_(flat.mean(dim=0))
        self.std.copy_(flat.std(dim=0).clamp(min=1e-4))

    def forward(self, features: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Features with mean 0 and deviation 1; no gradient goes through a target."""
        return (features.detach().float() - self.mean) / self.std


class ReconstructionHead(nn.Module):
    """h_2D or h_4D: learned queries, one for each feature, read the action latent Z_A."""

    def __init__(self, latent: int, tokens: int, dim: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, tokens, _HEADS, _HEAD_DIM) * 0.5)
        self.norm = nn.LayerNorm(latent)
        self.key = nn.Linear(latent, _HEADS * _HEAD_DIM)
        self.value = nn.Linear(latent, _HEADS * _HEAD_DIM)
        width = _HEADS * _HEAD_DIM
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, dim))

    def forward(self, latent: Float[Tensor, "b h d"]) -> Float[Tensor, "b n f"]:
        """One chunk's latent → features."""
        b, h, _ = latent.shape
        x = self.norm(latent)
        k, v = (project(x).view(b, h, _HEADS, _HEAD_DIM) for project in (self.key, self.value))
        queries = self.queries.to(k.dtype).expand(b, -1, -1, -1)
        everything = torch.ones((b, queries.shape[1], h), dtype=torch.bool, device=latent.device)
        # Which feature it is stays with the query; what it is comes from the latent.
        return self.mlp(attend(queries, k, v, everything) + queries.flatten(2)).float()

    def loss(self, latent: Float[Tensor, "b h d"], target: Float[Tensor, "b n f"]) -> Float[Tensor, " b"]:
        """Smooth L1 per sample; the paper's unsquared norm (eq. 7) has no gradient scale of its own near zero."""
        return nn.functional.smooth_l1_loss(self(latent), target, reduction="none").flatten(1).mean(dim=1)


class AlignmentHead(nn.Module):
    """What a text layer's image tokens must tell of the transformer's features (Spatial Forcing, arXiv 2510.12276)."""

    def __init__(self, hidden: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Sequential(
            nn.LayerNorm(hidden), nn.Linear(hidden, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, dim)
        )

    def loss(self, hidden: Float[Tensor, "b k d"], target: Float[Tensor, "b k f"]) -> Float[Tensor, " b"]:
        """One less the mean cosine, per sample."""
        return 1 - nn.functional.cosine_similarity(self.project(hidden).float(), target, dim=-1).mean(dim=1)
