# SPDX-License-Identifier: Apache-2.0
"""Linear layers for inference on a CPU: weights in the blocked layout of the kernels, activations fused.

A plain linear layer brings its weight into that layout at every call, which costs most where there are few rows: in the
fifty of the action expert. The packed weight replaces the plain one, so memory stays the same.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swiftvla_ros.model.expert import ExpertLayer
from swiftvla_ros.model.swiftvla import SwiftVLA

# Rows that the vision tower's MLP takes at a time in bfloat16: what lies between its layers then stays in the cache.
# float32 is slower than memory anyway.
_MLP_ROWS = 256


class PackedLinear(nn.Module):
    """A linear layer with oneDNN's kernel, followed by ``activation`` where one is named ("gelu_tanh" or "silu").

    oneDNN chooses the layout of the packed weight for the number of ``rows`` that it is called with most; others work,
    too.
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


class FewRowsLinear(nn.Module):
    """A float32 layer without bias for exactly ``rows`` rows, where MKL's packed product is faster than oneDNN's."""

    def __init__(self, linear: nn.Linear, rows: int) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.rows = rows
        self.packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)
        # The kernel reads the plain weight's shape alone.
        self.shape = weight.new_empty(1, 1).expand(weight.shape)

    def forward(self, x: Float[Tensor, "*any i"]) -> Float[Tensor, "*any o"]:
        """The layer's output; any other number of rows is refused, since the plain weight is gone."""
        if x.numel() != self.rows * x.shape[-1]:
            raise ValueError(f"packed for {self.rows} rows, called with {x.numel() // x.shape[-1]}")
        y: Tensor = torch.ops.mkl._mkl_linear(x, self.packed, self.shape, None, self.rows)
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


class PackedVisionMLP(nn.Module):
    """The vision tower's MLP with packed weights, a block of rows at a time."""

    def __init__(self, mlp: nn.Module, rows: int) -> None:
        super().__init__()
        first, second = _linear(mlp, "fc1"), _linear(mlp, "fc2")
        self.block = _MLP_ROWS if first.weight.dtype == torch.bfloat16 else rows
        self.fc1 = PackedLinear(first, self.block, "gelu_tanh")
        self.fc2 = second if _mkl_is_better(second) else PackedLinear(second, self.block)

    def forward(self, x: Float[Tensor, "n p v"]) -> Float[Tensor, "n p v"]:
        """One patch at a time."""
        blocks = x.flatten(0, 1).split(self.block)
        return torch.cat([self.fc2(self.fc1(block)) for block in blocks]).view_as(x)


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this build of torch has oneDNN's kernels, and this processor what they need for weights of ``dtype``.

    It is tried out: oneDNN refuses bfloat16 on processors without AVX-512 or AVX-NE-CONVERT, where plain layers work.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        torch.ops.mkldnn._reorder_linear_weight(torch.zeros(1, 1, dtype=dtype), 1)
    except (AttributeError, RuntimeError):
        return False
    return True


def pack(model: SwiftVLA, *, expert: bool = True) -> None:
    """Replace a network's linear layers by packed ones, one by one, for batches of one observation.

    The network can't be trained or saved after that. Packed layers have no backward pass: where the expert's Jacobian
    is needed, ``expert`` False leaves it as it is.
    """
    config, backbone = model.config, model.backbone
    tokens = config.num_cameras * config.vision.tokens
    # Instructions are short; the state and the Fusion Tokens come on top.
    prefix = tokens + 16
    patches = tokens * config.vision.scale_factor**2
    for layer in backbone.vision_model.encoder.layers:
        # With thousands of float32 rows, bringing the weight into MKL's layout is nothing beside the product.
        if not _mkl_is_better(layer.self_attn.q_proj):
            _pack_all(layer.self_attn, ("q_proj", "k_proj", "v_proj", "out_proj"), patches)
        layer.mlp = PackedVisionMLP(layer.mlp, patches)
    _pack_all(backbone.connector.modality_projection, ("proj",), tokens)
    for layer in backbone.text_model.layers:
        _pack_all(layer.self_attn, ("q_proj", "k_proj", "v_proj", "o_proj"), prefix)
        layer.mlp = PackedGatedMLP(layer.mlp, prefix)
    for layer in model.expert.layers if expert else ():
        assert isinstance(layer, ExpertLayer)
        attention, rows = layer.self_attn, config.horizon
        _pack_few(attention, ("q_proj", "o_proj"), rows)
        if attention.cross:
            _pack_all(attention, ("k_proj", "v_proj"), prefix)
        else:
            _pack_few(attention, ("k_proj", "v_proj"), rows)
        if _mkl_is_better(_linear(layer.mlp, "gate_proj")):
            _pack_few(layer.mlp, ("gate_proj", "up_proj", "down_proj"), rows)
        else:
            layer.mlp = PackedGatedMLP(layer.mlp, rows)


def _mkl_is_better(linear: nn.Linear) -> bool:
    return linear.weight.dtype == torch.float32 and torch.backends.mkl.is_available()


def _pack_all(module: nn.Module, names: tuple[str, ...], rows: int) -> None:
    for name in names:
        setattr(module, name, PackedLinear(_linear(module, name), rows))


def _pack_few(module: nn.Module, names: tuple[str, ...], rows: int) -> None:
    for name in names:
        linear = _linear(module, name)
        setattr(module, name, (FewRowsLinear if _mkl_is_better(linear) else PackedLinear)(linear, rows))


def _linear(module: nn.Module, name: str) -> nn.Linear:
    layer = getattr(module, name)
    assert isinstance(layer, nn.Linear)
    return layer
