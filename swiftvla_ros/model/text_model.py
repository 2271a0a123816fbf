# SPDX-License-Identifier: Apache-2.0
"""The first layers of SmolLM2, a llama: every layer's keys and values are what the action expert is conditioned on.

Parameters are named as in SmolVLM's checkpoints (``text_model``).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swiftvla_ros.model.attention import KeyValue, Mask, Rotation, attend, rotate
from swiftvla_ros.model.config import TextConfig

_EPSILON = 1e-5


class RMSNorm(nn.Module):
    """Llama's: x / √(mean x² + 1e-5) in float32, rounded to x's type, then times the weight, as in transformers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
        """Scale each vector to a root mean square of 1."""
        exact = x.float()
        exact = exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + _EPSILON)
        return self.weight * exact.to(x.dtype)


def fused_norm(norm: RMSNorm) -> nn.RMSNorm:
    """The same norm with the same weight as torch's own, which is one kernel instead of six on a GPU."""
    fused = nn.RMSNorm(norm.weight.shape, eps=_EPSILON, device="meta")
    fused.weight = norm.weight
    return fused


class GatedMLP(nn.Module):
    """SwiGLU (arXiv 2002.05202), as in llama."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """One token at a time."""
        y: Tensor = self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return y


class TextAttention(nn.Module):
    """Projections of grouped-query attention."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width, self.head_dim = config.hidden_size, config.head_dim
        self.q_proj = nn.Linear(width, config.num_heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(width, config.num_kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(width, config.num_kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.num_heads * config.head_dim, width, bias=False)


class TextLayer(nn.Module):
    """Attention and MLP behind their norms."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.self_attn = TextAttention(config)
        self.mlp = GatedMLP(config.hidden_size, config.intermediate_size)
        self.input_layernorm = RMSNorm(config.hidden_size)
        self.post_attention_layernorm = RMSNorm(config.hidden_size)

    def forward(
        self, hidden: Float[Tensor, "b n d"], by: Rotation, mask: Mask
    ) -> tuple[Float[Tensor, "b n d"], KeyValue]:
        """The layer's output, and the key (rotated) and value of each token."""
        x = self.input_layernorm(hidden)
        q, (k, v) = rotate(self._heads(self.self_attn.q_proj, x), by), self._key_value(x, by)
        hidden = hidden + self.self_attn.o_proj(attend(q, k, v, mask))
        return hidden + self.mlp(self.post_attention_layernorm(hidden)), (k, v)

    def key_value(self, hidden: Float[Tensor, "b n d"], by: Rotation) -> KeyValue:
        """Key and value alone."""
        return self._key_value(self.input_layernorm(hidden), by)

    def _key_value(self, x: Float[Tensor, "b n d"], by: Rotation) -> KeyValue:
        return rotate(self._heads(self.self_attn.k_proj, x), by), self._heads(self.self_attn.v_proj, x)

    def _heads(self, project: nn.Module, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n h hd"]:
        heads: Tensor = project(x).unflatten(-1, (-1, self.self_attn.head_dim))
        return heads


class TextModel(nn.Module):
    """Embeddings, layers and the last norm; :class:`Backbone` runs them."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        # Token 0 pads; it is never seen, and never learns.
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=0)
        self.layers = nn.ModuleList(TextLayer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size)
