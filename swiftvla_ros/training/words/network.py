# SPDX-License-Identifier: Apache-2.0
"""The network of :mod:`swiftvla_ros.policy.words.network` in torch, all members at once."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from swiftvla_ros.policy.words.network import HEADS
from swiftvla_ros.policy.words.vocabulary import PADDING, UNKNOWN


class ReadingMembers(nn.Module):
    """m members; each reads sentences of its own.

    Parameters
    ----------
    table
        Vectors of the words [v, d], which are not trained: so a word that no sentence held is near those that mean
        much the same.
    shapes
        Of the weights, by name.
    layers
        Number of layers.
    """

    def __init__(self, table: Tensor, shapes: dict[str, tuple[int, ...]], layers: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table: Tensor
        self.register_buffer("table", table)
        self.layers = layers
        self.weights = nn.ParameterDict()
        for name, shape in shapes.items():
            if name.endswith("_bias") or name == "unknown":
                value = torch.zeros(shape)
            elif "norm" in name:
                value = torch.ones(shape)
            else:
                spread = 0.1 if name == "position" else shape[1] ** -0.5
                value = spread * torch.randn(shape, generator=generator)
            self.weights[name] = nn.Parameter(value)

    def forward(
        self, words: Int[Tensor, "m b n"], noise: Float[Tensor, "m b n d"] | None = None
    ) -> Float[Tensor, "m b meanings"]:
        """Logits; ``noise`` moves the words' vectors, so that what was learnt holds around them, too."""
        weights, (m, b, n) = self.weights, words.shape
        vectors = self.table[words] + (words == UNKNOWN)[..., None] * weights["unknown"][:, None]
        vectors = vectors if noise is None else vectors + noise
        there = words != PADDING
        x = vectors.flatten(1, 2) @ weights["input"] + weights["input_bias"]
        x = x + weights["position"][:, :n].repeat(1, b, 1)
        for layer in range(self.layers):
            name = f"layer{layer}_"
            q, k, v = self._dense(self._norm(x, f"{name}norm1"), f"{name}qkv").view(m * b, n, 3 * HEADS, -1).chunk(3, 2)
            mixed = nn.functional.scaled_dot_product_attention(
                q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=there.view(m * b, 1, 1, n)
            )
            x = x + self._dense(mixed.transpose(1, 2).reshape(x.shape), f"{name}mix")
            x = x + self._dense(torch.relu(self._dense(self._norm(x, f"{name}norm2"), f"{name}up")), f"{name}down")
        x = self._norm(x, "norm")
        pool = self._dense(x, "pool").view(m, b, n, HEADS).masked_fill(~there[..., None], -1e9).softmax(2)
        pooled = torch.einsum("mbnh,mbnd->mbhd", pool, x.view(m, b, n, -1)).flatten(2)
        return self._dense(pooled, "out")

    def _dense(self, x: Tensor, name: str) -> Tensor:
        return torch.baddbmm(self.weights[f"{name}_bias"], x, self.weights[name])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        normed = nn.functional.layer_norm(x, x.shape[-1:], eps=1e-5)
        return normed * self.weights[name] + self.weights[f"{name}_bias"]
