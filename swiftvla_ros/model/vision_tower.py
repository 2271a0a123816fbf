# SPDX-License-Identifier: Apache-2.0
"""SigLIP's vision tower and SmolVLM's connector: an image becomes patch features, and these become a few tokens.

Parameters are named as in SmolVLM's checkpoints (``vision_model``, ``connector``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swiftvla_ros.model.config import VisionConfig
from swiftvla_ros.model.gradient_checkpointing import run_layer

_EPSILON = 1e-6


class VisionAttention(nn.Module):
    """Every patch of an image sees every other one."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Float[Tensor, "n p v"]) -> Float[Tensor, "n p v"]:
        """What each patch takes of the others."""
        q, k, v = (
            project(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if x.requires_grad and x.device.type == "cpu":
            # On CPUs the plain attention's backward pass is several times faster than the fused one's.
            mixed = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(dim=-1, dtype=torch.float32).to(v.dtype) @ v
        else:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class VisionMLP(nn.Module):
    """Two layers with GELU's tanh form between them."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Float[Tensor, "n p v"]) -> Float[Tensor, "n p v"]:
        """One patch at a time."""
        y: Tensor = self.fc2(nn.functional.gelu(self.fc1(x), approximate="tanh"))
        return y


class VisionLayer(nn.Module):
    """A layer of the tower: attention and MLP behind their norms."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.self_attn = VisionAttention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=_EPSILON)
        self.mlp = VisionMLP(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=_EPSILON)

    def forward(self, x: Float[Tensor, "n p v"]) -> Float[Tensor, "n p v"]:
        """Patches see each other, then each is thought about alone."""
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class PatchEmbeddings(nn.Module):
    """Square patches of an image, and where each lies."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        side, width = config.patch_size, config.hidden_size
        self.patch_embedding = nn.Conv2d(3, width, kernel_size=side, stride=side)
        self.position_embedding = nn.Embedding((config.image_size // side) ** 2, width)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n p v"]:
        """Embed images that fill the tower: so a patch's position is its number."""
        patches = self.patch_embedding(images.to(self.patch_embedding.weight.dtype))
        x: Tensor = patches.flatten(2).transpose(1, 2) + self.position_embedding.weight
        return x


class VisionEncoder(nn.Module):
    """The tower's layers; a module of its own for their names in checkpoints."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.num_layers))


class VisionTower(nn.Module):
    """Images → patch features."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = PatchEmbeddings(config)
        self.encoder = VisionEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=_EPSILON)

    def forward(self, images: Float[Tensor, "n 3 h w"], *, recompute: bool = False) -> Float[Tensor, "n p v"]:
        """Run the tower; ``recompute`` is gradient checkpointing of every layer."""
        x = self.embeddings(images)
        for layer in cast(Iterable[VisionLayer], self.encoder.layers):
            x = run_layer(layer, x, recompute=recompute)
        y: Tensor = self.post_layernorm(x)
        return y


class ModalityProjection(nn.Module):
    """The connector's one product; a module of its own for its name in checkpoints."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, outputs, bias=False)


class Connector(nn.Module):
    """Squares of ``scale_factor``² patches become one token of the text model's width."""

    def __init__(self, config: VisionConfig, width: int) -> None:
        super().__init__()
        self.scale_factor = config.scale_factor
        self.modality_projection = ModalityProjection(config.hidden_size * config.scale_factor**2, width)

    def forward(self, features: Float[Tensor, "n p v"]) -> Float[Tensor, "n t d"]:
        """Lay each square's features beside each other, row by row, and project them."""
        n, patches, width = features.shape
        side, s = int(patches**0.5), self.scale_factor
        squares = features.view(n, side // s, s, side // s, s, width).transpose(2, 3)
        tokens: Tensor = self.modality_projection.proj(squares.reshape(n, patches // s**2, width * s**2))
        return tokens
