# SPDX-License-Identifier: Apache-2.0
"""The image encoder: a DINOv2-style vision transformer with registers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from swiftvla_ros.geometry.config import GeometryConfig
from swiftvla_ros.geometry.layers import Block

# DINOv2 norms with this; the blocks behind the encoder with PyTorch's 1e-5.
_NORM_EPS = 1e-6


class PatchProjection(nn.Module):
    """A patch of pixels becomes a token."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_size, stride=patch_size)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n p dim"]:
        """Tokens in row-major order."""
        return self.proj(images).flatten(2).transpose(1, 2)


class Encoder(nn.Module):
    """Normalised images to patch tokens, each image by itself."""

    def __init__(self, config: GeometryConfig) -> None:
        super().__init__()
        encoder, dim = config.encoder, config.dim
        self.grid = config.grid
        self.stored_grid = encoder.position_grid
        self.patch_embed = PatchProjection(config.patch_size, dim)
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + encoder.position_grid**2, dim))
        self.register_tokens = nn.Parameter(torch.empty(1, encoder.registers, dim))
        for parameter in (self.cls_token, self.pos_embed, self.register_tokens):
            nn.init.trunc_normal_(parameter, std=0.02)
        # DINOv2's own layer scale starts at 1 in VGGT, whatever the blocks behind it start at.
        self.blocks = nn.ModuleList(
            Block(dim, encoder.num_heads, encoder.mlp_ratio, layer_scale_init=1.0, norm_eps=_NORM_EPS)
            for _ in range(encoder.num_layers)
        )
        self.norm = nn.LayerNorm(dim, eps=_NORM_EPS)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n p dim"]:
        """Patch tokens after the last norm; class token and registers stay inside."""
        tokens = self.patch_embed(images) + self._patch_positions()
        n = tokens.shape[0]
        class_token = self.cls_token + self.pos_embed[:, :1]
        x = torch.cat([class_token.expand(n, -1, -1), self.register_tokens.expand(n, -1, -1), tokens], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 1 + self.register_tokens.shape[1] :])

    def _patch_positions(self) -> Float[Tensor, "1 p dim"]:
        """The stored position embeddings, resized to the grid of this image size as DINOv2 does."""
        patches = self.pos_embed[:, 1:]
        if self.grid == (self.stored_grid, self.stored_grid):
            return patches
        square = patches.float().transpose(1, 2).unflatten(2, (self.stored_grid, self.stored_grid))
        resized = F.interpolate(square, size=self.grid, mode="bicubic", antialias=True)
        return resized.flatten(2).transpose(1, 2).to(patches.dtype)
