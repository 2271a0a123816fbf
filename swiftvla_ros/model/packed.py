# SPDX-License-Identifier: Apache-2.0
"""Linear layers for inference on a CPU: weights in the blocked layout of oneDNN's kernels, activations fused.

A plain linear layer brings its weight into that layout at every call, which costs most where there are few rows: in the
fifty of the action expert. The packed weight replaces the plain one, so memory stays the same.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swiftvla_ros.model.expert import ExpertLayer
from swiftvla_ros.model.swiftvla import SwiftVLA


class PackedLinear(nn.Module):
    """A linear layer, followed by ``activation`` where one is named ("gelu_tanh" or "silu").

    Parameters
    ----------
    linear
        The layer whose weight is packed.
    rows
        Rows that it is called with most: oneDNN chooses the layout for them; others work, too.
    activation
        Computed in the same kernel.
    """

    _POST_OPERATIONS = {"": ("none", ""), "gelu_tanh": ("gelu", "tanh"), "silu": ("swish", "")}  # noqa: RUF012

    def __init__(self, linear: nn.Linear, rows: int, activation: str = "") -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.operation, self.algorithm = self._POST_OPERATIONS[activation]

    def forward(self, x: Float[Tensor, "*any i"]) -> Float[Tensor, "*any o"]:
        """The layer's output, activated."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, self.operation, [], self.algorithm)
        return y

    def times(self, x: Float[Tensor, "*any i"], factor: Float[Tensor, "*any o"]) -> Float[Tensor, "*any o"]:
        """The output times ``factor``, in one kernel."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, factor, self.weight, self.bias, "mul")
        return y


class PackedGatedMLP(nn.Module):
    """SwiGLU with packed weights: three kernels."""

    def __init__(self, mlp: nn.Module, rows: int) -> None:
        super().__init__()
        self.gate = PackedLinear(_linear(mlp, "gate_proj"), rows, "silu")
        self.up = PackedLinear(_linear(mlp, "up_proj"), rows)
        self.down = PackedLinear(_linear(mlp, "down_proj"), rows)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """One token at a time."""
        y: Tensor = self.down(self.up.times(x, self.gate(x)))
        return y


def can_pack() -> bool:
    """Whether this build of torch has oneDNN's kernels."""
    return bool(torch.backends.mkldnn.is_available()) and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def pack(model: SwiftVLA) -> None:
    """Replace a network's linear layers by packed ones, one by one; it can't be trained or saved after that."""
    config, backbone, expert = model.config, model.backbone, model.expert
    tokens = config.num_cameras * config.vision.tokens
    # Instructions are short; the state and the Fusion Tokens come on top.
    prefix = tokens + 16
    patches = tokens * config.vision.scale_factor**2
    for layer in backbone.vision_model.encoder.layers:
        _pack_all(layer.self_attn, ("q_proj", "k_proj", "v_proj", "out_proj"), patches)
        layer.mlp.fc1 = PackedLinear(layer.mlp.fc1, patches, "gelu_tanh")
        layer.mlp.activation_fn = nn.Identity()
        layer.mlp.fc2 = PackedLinear(layer.mlp.fc2, patches)
    _pack_all(backbone.connector.modality_projection, ("proj",), tokens)
    for layer in backbone.text_model.layers:
        _pack_all(layer.self_attn, ("q_proj", "k_proj", "v_proj", "o_proj"), prefix)
        layer.mlp = PackedGatedMLP(layer.mlp, prefix)
    for layer in expert.layers:
        assert isinstance(layer, ExpertLayer)
        _pack_all(layer.self_attn, ("q_proj", "o_proj"), config.horizon)
        _pack_all(layer.self_attn, ("k_proj", "v_proj"), prefix if layer.self_attn.cross else config.horizon)
        layer.mlp = PackedGatedMLP(layer.mlp, config.horizon)


def _pack_all(module: nn.Module, names: tuple[str, ...], rows: int) -> None:
    for name in names:
        setattr(module, name, PackedLinear(_linear(module, name), rows))


def _linear(module: nn.Module, name: str) -> nn.Linear:
    layer = getattr(module, name)
    assert isinstance(layer, nn.Linear)
    return layer
