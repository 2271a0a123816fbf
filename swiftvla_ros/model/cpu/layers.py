# SPDX-License-Identifier: Apache-2.0
"""The network's layers with packed weights: one product for queries, keys and values, and few kernels beside it.

Each computes what its namesake does in ``backbone`` and ``expert``; only rounding differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swiftvla_ros.model.attention import KeyValue, Mask, Rotation, attend, rotate
from swiftvla_ros.model.cpu.linear import Post
from swiftvla_ros.model.expert import ActionLayout, ExpertLayer
from swiftvla_ros.model.text_model import GatedMLP, TextLayer, fused_norm
from swiftvla_ros.model.vision_tower import VisionLayer

AttendPatches = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values [n, h, p, hd] → what each patch took of the others [n, p, h * hd]."""


class MakeLinear(Protocol):
    """How packed layers are made (``packing.Kernels``)."""

    def __call__(self, layers: Sequence[nn.Linear], rows: int, post: Post = "", *, always: bool = False) -> nn.Module:
        """Layers of one input as one, for so many ``rows``, or ``always`` exactly so many."""


class PackedVisionLayer(nn.Module):
    """A layer of the vision tower; its MLP takes a block of ``mlp_rows`` patches at a time."""

    def __init__(
        self, layer: VisionLayer, patches: int, mlp_rows: int, linear: MakeLinear, attend: AttendPatches
    ) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.heads, self.attend = attention.num_heads, attend
        self.mlp_rows = mlp_rows
        self.layer_norm1, self.layer_norm2 = layer.layer_norm1, layer.layer_norm2
        self.qkv_proj = linear([attention.q_proj, attention.k_proj, attention.v_proj], patches)
        self.out_proj = linear([attention.out_proj], patches, "add")
        self.fc1 = linear([mlp.fc1], mlp_rows, "gelu_tanh")
        self.fc2 = linear([mlp.fc2], mlp_rows, "add")

    def forward(self, x: Float[Tensor, "n p v"]) -> Float[Tensor, "n p v"]:
        """Patches of an image see each other."""
        q, k, v = self.qkv_proj(self.layer_norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = self.out_proj(self.attend(q, k, v), x)
        normed, residual = (y.flatten(0, 1).split(self.mlp_rows) for y in (self.layer_norm2(x), x))
        rows = [self.fc2(self.fc1(block), to) for block, to in zip(normed, residual, strict=True)]
        return (rows[0] if len(rows) == 1 else torch.cat(rows)).view_as(x)


def attend_patches(
    q: Float[Tensor, "n h p hd"], k: Float[Tensor, "n h p hd"], v: Float[Tensor, "n h p hd"]
) -> Float[Tensor, "n p h*hd"]:
    """Torch's fused kernel."""
    return nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def attend_patches_by_head(
    q: Float[Tensor, "n h p hd"], k: Float[Tensor, "n h p hd"], v: Float[Tensor, "n h p hd"]
) -> Float[Tensor, "n p h*hd"]:
    """One head after the other, with matrix products of full size: a head's scores stay in the cache."""
    images, heads, patches, head_dim = q.shape
    mixed = q.new_empty(images, patches, heads, head_dim)
    q = q * head_dim**-0.5
    for image in range(images):
        for head in range(heads):
            weights = (q[image, head] @ k[image, head].T).softmax(dim=-1)
            torch.mm(weights, v[image, head], out=mixed[image, :, head])
    return mixed.flatten(2)


class PackedSelfAttention(nn.Module):
    """Queries, keys and values of one input: one product, one rotation."""

    def __init__(self, attention: nn.Module, head_dim: int, rows: int, linear: MakeLinear, *, always: bool) -> None:
        super().__init__()
        self.head_dim = head_dim
        layers = [getattr(attention, name) for name in ("q_proj", "k_proj", "v_proj")]
        self.heads = [layer.out_features // head_dim for layer in layers]
        self.qkv_proj = linear(layers, rows, always=always)

    def forward(self, x: Float[Tensor, "b n d"], by: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys (both rotated), and values, [b, n, heads, head_dim]."""
        query, key, value = self.heads
        qk, v = self.qkv_proj(x).unflatten(-1, (-1, self.head_dim)).split([query + key, value], dim=2)
        q, k = rotate(qk, by).split([query, key], dim=2)
        return q, k, v


class PackedGatedMLP(nn.Module):
    """SwiGLU, and what it is added to: three kernels."""

    def __init__(self, mlp: GatedMLP, rows: int, linear: MakeLinear, *, always: bool) -> None:
        super().__init__()
        self.gate_proj = linear([mlp.gate_proj], rows, "silu", always=always)
        self.up_proj = linear([mlp.up_proj], rows, "mul", always=always)
        self.down_proj = linear([mlp.down_proj], rows, "add", always=always)

    def forward(self, x: Float[Tensor, "b n d"], residual: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """One token at a time."""
        y: Tensor = self.down_proj(self.up_proj(x, self.gate_proj(x)), residual)
        return y


class PackedTextLayer(nn.Module):
    """A layer of the text model, for about so many rows."""

    def __init__(self, layer: TextLayer, rows: int, linear: MakeLinear) -> None:
        super().__init__()
        attention = layer.self_attn
        self.input_layernorm = fused_norm(layer.input_layernorm)
        self.post_attention_layernorm = fused_norm(layer.post_attention_layernorm)
        self.self_attn = PackedSelfAttention(attention, attention.head_dim, rows, linear, always=False)
        self.o_proj = linear([attention.o_proj], rows, "add")
        self.mlp = PackedGatedMLP(layer.mlp, rows, linear, always=False)

    def forward(
        self, hidden: Float[Tensor, "b n d"], by: Rotation, mask: Mask
    ) -> tuple[Float[Tensor, "b n d"], KeyValue]:
        """The layer's output, and the key (rotated) and value of each token."""
        q, k, v = self.self_attn(self.input_layernorm(hidden), by)
        hidden = self.o_proj(attend(q, k, v, mask), hidden)
        return self.mlp(self.post_attention_layernorm(hidden), hidden), (k, v)

    def key_value(self, hidden: Float[Tensor, "b n d"], by: Rotation) -> KeyValue:
        """Key and value alone."""
        _, k, v = self.self_attn(self.input_layernorm(hidden), by)
        return k, v


class PackedExpertLayer(nn.Module):
    """A layer of the action expert, for the rows of one chunk, over a prefix of about so many rows."""

    def __init__(self, layer: ExpertLayer, rows: int, prefix: int, linear: MakeLinear) -> None:
        super().__init__()
        attention = layer.self_attn
        self.head_dim = layer.head_dim
        self.input_layernorm = fused_norm(layer.input_layernorm)
        self.post_attention_layernorm = fused_norm(layer.post_attention_layernorm)
        self.self_attn: PackedSelfAttention | None = None
        if attention.cross:
            self.q_proj = linear([attention.q_proj], rows, always=True)
            self.k_proj = linear([attention.k_proj], prefix)
            self.v_proj = linear([attention.v_proj], prefix)
        else:
            self.self_attn = PackedSelfAttention(attention, layer.head_dim, rows, linear, always=True)
        self.o_proj = linear([attention.o_proj], rows, "add", always=True)
        self.mlp = PackedGatedMLP(layer.mlp, rows, linear, always=True)

    def forward(
        self,
        hidden: Float[Tensor, "b n d"],
        k: Float[Tensor, "b m kv hd"],
        v: Float[Tensor, "b m kv hd"],
        layout: ActionLayout,
    ) -> Float[Tensor, "b n d"]:
        """The layer's output over the keys and values that :meth:`project_prefix` gave."""
        x = self.input_layernorm(hidden)
        if self.self_attn is None:
            q = rotate(self.q_proj(x).unflatten(-1, (-1, self.head_dim)), layout.cross)
            mixed = attend(q, k, v, layout.prefix_mask)
        else:
            q, own_k, own_v = self.self_attn(x, layout.joint)
            mixed = attend(q, torch.cat([k, own_k], dim=1), torch.cat([v, own_v], dim=1), layout.joint_mask)
        hidden = self.o_proj(mixed, hidden)
        mlp: Tensor = self.mlp(self.post_attention_layernorm(hidden), hidden)
        return mlp

    def project_prefix(self, k: Float[Tensor, "b m kv hd"], v: Float[Tensor, "b m kv hd"]) -> KeyValue:
        """What the layer reads of the prefix."""
        if self.self_attn is not None:
            return k, v
        return self.k_proj(k.flatten(2)).view_as(k), self.v_proj(v.flatten(2)).view_as(v)
