# SPDX-License-Identifier: Apache-2.0
"""Linear layers for inference on a CPU: one class per kernel, each with what follows the product.

A plain layer brings its weight into the blocked layout of the kernels at every call, which costs most where there are
few rows: in the fifty of the action expert. The packed weight replaces the plain one, so memory stays the same.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Post = Literal["", "gelu_tanh", "silu", "mul", "add"]
"""What follows the product: an activation, or ``other`` times or plus the output."""


class PlainLinear(nn.Module):
    """torch's own kernel."""

    def __init__(self, weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None, post: Post = "") -> None:
        super().__init__()
        self.weight, self.bias, self.post = weight, bias, post

    def forward(
        self, x: Float[Tensor, "*any i"], other: Float[Tensor, "*any o"] | None = None
    ) -> Float[Tensor, "*any o"]:
        """The layer's output."""
        return _followed(nn.functional.linear(x, self.weight, self.bias), self.post, other)


class WidenedLinear(nn.Module):
    """A bfloat16 layer computed in float32: many times faster than torch's own where a processor has no bfloat16."""

    def __init__(self, weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None, post: Post = "") -> None:
        super().__init__()
        self.weight, self.post = weight, post
        self.bias = None if bias is None else bias.float()

    def forward(
        self, x: Float[Tensor, "*any i"], other: Float[Tensor, "*any o"] | None = None
    ) -> Float[Tensor, "*any o"]:
        """The layer's output, rounded once."""
        y = nn.functional.linear(x.float(), self.weight.float(), self.bias)
        return _followed(y, self.post, other).to(x.dtype)


class MKLLinear(nn.Module):
    """MKL's packed product, float32, for exactly ``rows`` rows."""

    def __init__(
        self, weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None, rows: int, post: Post = ""
    ) -> None:
        super().__init__()
        self.bias, self.rows, self.post = bias, rows, post
        self.packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)
        # The kernel reads the plain weight's shape alone.
        self.shape = weight.new_empty(1, 1).expand(weight.shape)

    def forward(
        self, x: Float[Tensor, "*any i"], other: Float[Tensor, "*any o"] | None = None
    ) -> Float[Tensor, "*any o"]:
        """The layer's output; any other number of rows is refused, since the plain weight is gone."""
        if x.numel() != self.rows * x.shape[-1]:
            raise ValueError(f"packed for {self.rows} rows, called with {x.numel() // x.shape[-1]}")
        return _followed(torch.ops.mkl._mkl_linear(x, self.packed, self.shape, self.bias, self.rows), self.post, other)


class OneDNNLinear(nn.Module):
    """oneDNN's kernel, which does what follows the product, too.

    It chooses the layout of the packed weight for the number of ``rows`` that it is called with most; others work.
    """

    _FUSED = {"": ("none", ""), "gelu_tanh": ("gelu", "tanh"), "silu": ("swish", "")}  # noqa: RUF012

    def __init__(
        self, weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None, rows: int, post: Post = ""
    ) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        self.bias, self.post = bias, post

    def forward(
        self, x: Float[Tensor, "*any i"], other: Float[Tensor, "*any o"] | None = None
    ) -> Float[Tensor, "*any o"]:
        """The layer's output."""
        linear = torch.ops.mkldnn._linear_pointwise
        y: Tensor
        if self.post in self._FUSED:
            operation, algorithm = self._FUSED[self.post]
            y = linear(x, self.weight, self.bias, operation, [], algorithm)
        else:
            y = linear.binary(x, other, self.weight, self.bias, self.post)
        return y


def _followed(y: Tensor, post: Post, other: Tensor | None) -> Tensor:
    match post:
        case "gelu_tanh":
            return nn.functional.gelu(y, approximate="tanh")
        case "silu":
            return nn.functional.silu(y, inplace=True)
        case "mul":
            assert other is not None
            return y.mul_(other)
        case "add":
            assert other is not None
            return y.add_(other)
        case _:
            return y
