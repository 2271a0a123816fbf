# SPDX-License-Identifier: Apache-2.0
"""Transformer blocks shared by the encoder, the alternating attention and the camera head.

Modules carry the names of the public checkpoints (``attn.qkv``, ``ls1.gamma``, ``mlp.fc1`` …).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

# Cosine and sine of 2D RoPE: a row per token; vertical and horizontal; an entry per pair of channels.
Rotary = tuple[Float[Tensor, "n 2 pairs"], Float[Tensor, "n 2 pairs"]]
Heads = Float[Tensor, "b heads n hd"]
# How queries meet keys and values: all with all, by a causal window, or through a stream's cache.
Attend = Callable[[Heads, Heads, Heads], Heads]


def rotary_table(grid: tuple[int, int], special: int, head_dim: int, base: float) -> Rotary:
    """2D RoPE of one frame's tokens: patches count from (1, 1), special tokens all stand at (0, 0)."""
    # On the CPU by name: networks are built on PyTorch's meta device, and a table is no weight that comes later.
    rows, columns, exponent = (torch.arange(n, device="cpu") for n in (*grid, head_dim // 4))
    patches = torch.cartesian_prod(rows, columns) + 1
    positions = torch.cat([patches.new_zeros(special, 2), patches]).float()
    angles = positions[..., None] * base ** -(exponent / (head_dim // 4))
    return angles.cos(), angles.sin()


def rotate(x: Heads, rotary: Rotary) -> Heads:
    """Apply 2D RoPE: the first half of the channels turns with the row, the second with the column.

    Within a half, channel i pairs with i + a quarter.
    """
    cos, sin = rotary[0].to(x.dtype), rotary[1].to(x.dtype)
    first, second = x.unflatten(-1, (2, 2, -1)).unbind(-2)
    return torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-2).flatten(-3)


def attention(q: Heads, k: Heads, v: Heads, mask: Bool[Tensor, "#b 1 #n m"] | None = None) -> Heads:
    """Softmax attention where ``mask`` is True.

    On CPUs the fused kernel is faster forwards, and several times slower than plain products backwards.
    """
    if not (q.device.type == "cpu" and torch.is_grad_enabled() and q.requires_grad):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype) @ v


class Attention(nn.Module):
    """Multi-head self-attention, with layer-normed queries and keys if ``qk_norm``."""

    def __init__(self, dim: int, num_heads: int, qk_norm: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.LayerNorm(dim // num_heads) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(dim // num_heads) if qk_norm else nn.Identity()
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b n dim"], rotary: Rotary | None, attend: Attend) -> Float[Tensor, "b n dim"]:
        """Project, normalise, rotate, attend, project."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        # Under autocast norms give fp32, and attention wants one type.
        q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)
        if rotary is not None:
            q, k = rotate(q, rotary), rotate(k, rotary)
        out = attend(q, k, v)
        return self.proj(out.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, dim: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, x: Float[Tensor, "*n dim"]) -> Float[Tensor, "*n out"]:
        """Width ``dim`` to ``out``."""
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned factor per channel on a residual branch."""

    def __init__(self, dim: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), init))

    def forward(self, x: Float[Tensor, "*n dim"]) -> Float[Tensor, "*n dim"]:
        """Scale every channel."""
        return x * self.gamma


class Block(nn.Module):
    """A pre-norm transformer block with layer scale."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        layer_scale_init: float,
        qk_norm: bool = False,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = Attention(dim, num_heads, qk_norm)
        self.ls1 = LayerScale(dim, layer_scale_init)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), dim)
        self.ls2 = LayerScale(dim, layer_scale_init)

    def forward(
        self, x: Float[Tensor, "b n dim"], rotary: Rotary | None = None, attend: Attend = attention
    ) -> Float[Tensor, "b n dim"]:
        """Attention and MLP, each added to what came in."""
        x = x + self.ls1(self.attn(self.norm1(x), rotary, attend))
        return x + self.ls2(self.mlp(self.norm2(x)))
