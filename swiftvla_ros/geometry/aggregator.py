# SPDX-License-Identifier: Apache-2.0
"""Alternating attention: inside each frame, then between frames, again and again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swiftvla_ros.geometry.config import GeometryConfig
from swiftvla_ros.geometry.encoder import Encoder
from swiftvla_ros.geometry.layers import Attend, Block, Rotary, rotary_table

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class Aggregator(nn.Module):
    """Images to tokens that know their own frame and the frames before it."""

    _cos: Tensor
    _sin: Tensor
    _mean: Tensor
    _std: Tensor

    def __init__(self, config: GeometryConfig) -> None:
        super().__init__()
        self.patch_embed = Encoder(config)
        self.frame_blocks, self.global_blocks = (
            nn.ModuleList(
                Block(config.dim, config.num_heads, config.mlp_ratio, config.layer_scale_init, qk_norm=True)
                for _ in range(config.num_pairs)
            )
            for _ in range(2)
        )
        # Two of each: for the first frame of a sequence, whose camera is the world, and for all others.
        self.camera_token = nn.Parameter(torch.empty(1, 2, 1, config.dim))
        self.register_token = nn.Parameter(torch.empty(1, 2, config.registers, config.dim))
        for parameter in (self.camera_token, self.register_token):
            nn.init.normal_(parameter, std=0.02)
        cos, sin = rotary_table(config.grid, config.special_tokens, config.dim // config.num_heads, config.rope_base)
        self.register_buffer("_cos", cos, persistent=False)
        self.register_buffer("_sin", sin, persistent=False)
        self.register_buffer("_mean", torch.tensor(_IMAGENET_MEAN, device="cpu")[:, None, None], persistent=False)
        self.register_buffer("_std", torch.tensor(_IMAGENET_STD, device="cpu")[:, None, None], persistent=False)

    def embed(self, images: Float[Tensor, "b f 3 h w"], first: bool) -> Float[Tensor, "b f p dim"]:
        """Tokens of every frame (RGB in [0, 1]) by itself: camera, registers, patches.

        ``first``: whether frame 0 is the first frame of the sequence.
        """
        b, f = images.shape[:2]
        normal = ((images - self._mean) / self._std).flatten(0, 1).to(self.camera_token.dtype)
        patches = self.patch_embed(normal).unflatten(0, (b, f))
        special = torch.cat([self.camera_token, self.register_token], dim=2)
        index = torch.ones(f, dtype=torch.long, device=images.device)
        if first:
            index[0] = 0
        return torch.cat([special[:, index].to(patches.dtype).expand(b, -1, -1, -1), patches], dim=2)

    def aggregate(
        self, tokens: Float[Tensor, "b f p dim"], attend: Callable[[int], Attend], layers: set[int]
    ) -> dict[int, Float[Tensor, "b f p 2*dim"]]:
        """Run all pairs; each of ``layers`` gives its frame attention's output beside its global attention's.

        ``attend(layer)`` gives the attention between frames.
        """
        b, f = tokens.shape[:2]
        within: Rotary = (self._cos, self._sin)
        between: Rotary = (self._cos.repeat(f, 1, 1), self._sin.repeat(f, 1, 1))
        x = tokens.flatten(0, 1)
        out = {}
        for i, (frame_block, global_block) in enumerate(zip(self.frame_blocks, self.global_blocks, strict=True)):
            local = frame_block(x, within)
            x = global_block(local.view(b, -1, local.shape[-1]), between, attend(i)).view(local.shape)
            if i in layers:
                out[i] = torch.cat([local, x], dim=-1).unflatten(0, (b, f))
        return out
