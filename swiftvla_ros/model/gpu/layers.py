# SPDX-License-Identifier: Apache-2.0
"""A network's layers for inference on a GPU: as few kernels as can be, since small ones take longer to start than run.

What reads the same input is one product: queries, keys and values; the gate and what it gates. Rotation is part of the
attention, a residual of the norm or of the product that comes next. The patches are embedded by a product, too: so the
tower's tokens lie one after the other, not channel by channel as a convolution leaves them.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swiftvla_ros.model.attention import KeyValue, Mask, Rotation
from swiftvla_ros.model.expert import ActionLayout, ExpertLayer
from swiftvla_ros.model.gpu import operations
from swiftvla_ros.model.swiftvla import SwiftVLA
from swiftvla_ros.model.text_model import RMSNorm, TextLayer, fused_norm
from swiftvla_ros.model.vision_tower import VisionLayer


def fuse(model: SwiftVLA) -> None:
    """Replace a network's layers, one by one, for batches of one; it can't be trained or saved after that."""
    tower: Any = model.backbone.vision_model
    text: Any = model.backbone.text_model
    expert: Any = model.expert
    tower.embeddings.patch_embedding = PatchEmbedding(tower.embeddings.patch_embedding)
    _replace(tower.encoder.layers, FusedVisionLayer)
    _replace(text.layers, FusedTextLayer)
    _replace(expert.layers, FusedExpertLayer)
    text.norm, expert.norm = fused_norm(text.norm), fused_norm(expert.norm)


class PatchEmbedding(nn.Module):
    """A convolution whose windows don't overlap, as a product."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.side = convolution.kernel_size[0]
        self.weight = nn.Parameter(convolution.weight.detach().flatten(1), requires_grad=False)
        self.bias = convolution.bias

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n v y x"]:
        """As the convolution."""
        n, channels, height, width = images.shape
        rows, columns = height // self.side, width // self.side
        pixels = images.view(n, channels, rows, self.side, columns, self.side).permute(0, 2, 4, 1, 3, 5)
        tokens = nn.functional.linear(pixels.reshape(n, rows * columns, -1), self.weight, self.bias)
        return tokens.transpose(1, 2).unflatten(2, (rows, columns))


class FusedVisionLayer(nn.Module):
    """As :class:`VisionLayer`."""

    def __init__(self, layer: VisionLayer) -> None:
        super().__init__()
        attention: Any = layer.self_attn
        self.heads = attention.num_heads
        self.qkv = _stacked(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out_proj, self.mlp = attention.out_proj, layer.mlp
        self.layer_norm1, self.layer_norm2 = layer.layer_norm1, layer.layer_norm2

    def forward(self, x: Float[Tensor, "n p v"]) -> Float[Tensor, "n p v"]:
        """Patches of an image see each other."""
        q, k, v = self.qkv(self.layer_norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out_proj(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.layer_norm2(x))


class FusedTextLayer(nn.Module):
    """As :class:`TextLayer`."""

    def __init__(self, layer: TextLayer) -> None:
        super().__init__()
        attention: Any = layer.self_attn
        self.head_dim = attention.head_dim
        self.heads = attention.q_proj.out_features // self.head_dim
        self.qkv, self.o_proj = _stacked(attention.q_proj, attention.k_proj, attention.v_proj), attention.o_proj
        self.input_layernorm = fused_norm(layer.input_layernorm)
        self.rest = _NormAndMLP(layer.post_attention_layernorm, layer.mlp)

    def forward(
        self, hidden: Float[Tensor, "b n d"], by: Rotation, mask: Mask
    ) -> tuple[Float[Tensor, "b n d"], KeyValue]:
        """The layer's output, and the key (rotated) and value of each token."""
        qkv = self.qkv(self.input_layernorm(hidden))
        k, v = self._key_value(qkv[..., self.heads * self.head_dim :], by)
        mixed = operations.attend(qkv, by, k, v, mask, self.heads, own=False)
        return self.rest(hidden, self.o_proj(mixed)), (k, v)

    def key_value(self, hidden: Float[Tensor, "b n d"], by: Rotation) -> KeyValue:
        """Key and value alone."""
        weight = self.qkv.weight[self.heads * self.head_dim :]
        return self._key_value(nn.functional.linear(self.input_layernorm(hidden), weight), by)

    def _key_value(self, kv: Float[Tensor, "b n d"], by: Rotation) -> KeyValue:
        k, v = kv.unflatten(-1, (2, -1, self.head_dim)).unbind(2)
        return operations.rotate(k, by), v


class FusedExpertLayer(nn.Module):
    """As :class:`ExpertLayer`."""

    def __init__(self, layer: ExpertLayer) -> None:
        super().__init__()
        attention, self.head_dim = layer.self_attn, layer.head_dim
        self.cross, self.heads = attention.cross, attention.q_proj.out_features // layer.head_dim
        if self.cross:
            self.projected, self.k_proj, self.v_proj = attention.q_proj, attention.k_proj, attention.v_proj
        else:
            self.projected = _stacked(attention.q_proj, attention.k_proj, attention.v_proj)
        self.o_proj = attention.o_proj
        self.input_layernorm = fused_norm(layer.input_layernorm)
        self.rest = _NormAndMLP(layer.post_attention_layernorm, layer.mlp)

    def forward(
        self,
        hidden: Float[Tensor, "b n d"],
        k: Float[Tensor, "b m kv hd"],
        v: Float[Tensor, "b m kv hd"],
        layout: ActionLayout,
    ) -> Float[Tensor, "b n d"]:
        """The layer's output over the keys and values that :meth:`project_prefix` gave."""
        by, mask = (layout.cross, layout.prefix_mask) if self.cross else (layout.joint, layout.joint_mask)
        projected = self.projected(self.input_layernorm(hidden))
        mixed = operations.attend(projected, by, k, v, mask, self.heads, own=not self.cross)
        return self.rest(hidden, self.o_proj(mixed))

    def project_prefix(self, k: Float[Tensor, "b m kv hd"], v: Float[Tensor, "b m kv hd"]) -> KeyValue:
        """What the layer reads of the prefix: a cross layer projects the backbone's keys and values once more."""
        if not self.cross:
            return k, v
        k, v = self.k_proj(k.flatten(2)), self.v_proj(v.flatten(2))
        return k.unflatten(-1, (-1, self.head_dim)), v.unflatten(-1, (-1, self.head_dim))


class _NormAndMLP(nn.Module):
    """What follows a layer's attention: residual, norm, SwiGLU and residual."""

    def __init__(self, norm: RMSNorm, mlp: Any) -> None:
        super().__init__()
        self.norm = fused_norm(norm)
        self.gate_and_up, self.down_proj = _stacked(mlp.gate_proj, mlp.up_proj), mlp.down_proj

    def forward(self, hidden: Float[Tensor, "b n d"], attended: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        hidden, x = operations.add_and_normalize(hidden, attended, self.norm)
        x = operations.silu_times(self.gate_and_up(x))
        if torch.is_grad_enabled():
            return hidden + self.down_proj(x)
        return hidden.flatten(0, 1).addmm_(x.flatten(0, 1), self.down_proj.weight.t()).view_as(hidden)


def _replace(layers: nn.ModuleList, fused: type[nn.Module]) -> None:
    for i, layer in enumerate(layers):
        layers[i] = fused(layer)


def _stacked(*linears: nn.Linear) -> nn.Linear:
    """Layers of one input as one layer."""
    rows = sum(linear.out_features for linear in linears)
    stacked = nn.Linear(linears[0].in_features, rows, bias=linears[0].bias is not None, device="meta")
    for name, _ in list(stacked.named_parameters()):
        weights = torch.cat([getattr(linear, name).detach() for linear in linears])
        setattr(stacked, name, nn.Parameter(weights, requires_grad=False))
    return stacked
