# SPDX-License-Identifier: Apache-2.0
"""Grouped-query attention and rotary positions, shared by the backbone's text layers and the action expert."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

# Which keys a query sees: True, or 0 where all others have a large negative number; None: each sees all.
Mask = Bool[Tensor, "b n m"] | Float[Tensor, "b n m"] | None
KeyValue = tuple[Float[Tensor, "b n kv hd"], Float[Tensor, "b n kv hd"]]


class Rotation(NamedTuple):
    """RoPE (arXiv 2104.09864) of each position, made once for all layers: x · cos + (x's halves swapped) · sin."""

    cos: Float[Tensor, "b n 1 hd"]
    sin: Float[Tensor, "b n 1 hd"]


def rotation(positions: Int[Tensor, "b n"], head_dim: int, theta: float) -> Rotation:
    """The rotation of each position, float32 (lerobot's SmolVLA rounds alike)."""
    exponent = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    angles = (positions[..., None].float() / theta**exponent)[:, :, None]
    cos, sin = angles.cos(), angles.sin()
    return Rotation(torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1))


def rotate(x: Float[Tensor, "b n h hd"], by: Rotation) -> Float[Tensor, "b n h hd"]:
    """Apply RoPE in float32; channel i pairs with i + hd/2, as in transformers' llama."""
    first, second = x.chunk(2, dim=-1)
    return (x * by.cos + torch.cat([second, first], dim=-1) * by.sin).to(x.dtype)


def once_for_all_layers(mask: Mask, dtype: torch.dtype) -> Mask:
    """What a GPU's fused kernels read instead of a mask of booleans, which would be made anew in each layer."""
    if mask is None or not mask.is_cuda or mask.dtype != torch.bool:
        return mask
    b, n, m = mask.shape
    # Rows begin at multiples of 16; a number that is finite, since a query may see nothing.
    addend = torch.zeros((b, n, m + -m % 16), dtype=dtype, device=mask.device)[..., :m]
    return addend.masked_fill_(~mask, torch.finfo(dtype).min)


def attend(
    q: Float[Tensor, "b n h hd"],
    k: Float[Tensor, "b m kv hd"],
    v: Float[Tensor, "b m kv hd"],
    mask: Mask,
) -> Float[Tensor, "b n h*hd"]:
    """Grouped-query attention where ``mask`` allows it; a query that sees nothing gets zeros or an average of values.

    In training on CPUs, query heads of one group are folded into rows, so that keys and values are never repeated; that
    is faster than the fused kernel's backward pass, and a graph that is exported has fewer nodes.
    """
    if not (q.requires_grad and q.device.type == "cpu") and not torch.compiler.is_exporting():
        out = nn.functional.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            attn_mask=None if mask is None else mask[:, None],
            enable_gqa=True,
        )
        return out.transpose(1, 2).flatten(2)
    b, n, heads, head_dim = q.shape
    kv = k.shape[2]
    groups = heads // kv
    rows = q.view(b, n, kv, groups, head_dim).permute(0, 2, 3, 1, 4).reshape(b, kv, groups * n, head_dim)
    scores = rows @ k.permute(0, 2, 3, 1) * head_dim**-0.5
    if mask is not None:
        scores = scores.view(b, kv, groups, n, -1)
        if mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask[:, None, None], torch.finfo(scores.dtype).min)
        else:
            scores = scores + mask[:, None, None]
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype).view(b, kv, groups * n, -1)
    out = (weights @ v.transpose(1, 2)).view(b, kv, groups, n, head_dim)
    return out.permute(0, 3, 1, 2, 4).reshape(b, n, heads * head_dim)
