# SPDX-License-Identifier: Apache-2.0
"""The kernels of one linear layer: each computes what the plain layer and what follows it compute."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from swiftvla_ros.model.cpu.linear import MKLLinear, OneDNNLinear, PlainLinear, Post, WidenedLinear
from swiftvla_ros.model.cpu.packing import has_onednn

ROWS, WIDTH, OUT = 14, 24, 40
FOLLOWED: dict[Post, Callable[[Tensor, Tensor], Tensor]] = {
    "": lambda y, _: y,
    "gelu_tanh": lambda y, _: nn.functional.gelu(y, approximate="tanh"),
    "silu": lambda y, _: nn.functional.silu(y),
    "mul": lambda y, other: y * other,
    "add": lambda y, other: y + other,
}


@pytest.mark.parametrize("post", FOLLOWED)
@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_kernel_computes_the_same(post: Post, bias: bool, dtype: torch.dtype) -> None:
    """Protects the choice by timing: whichever kernel is taken, the layer is the same."""
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn((OUT, WIDTH), generator=generator), torch.randn((2, ROWS // 2, WIDTH), generator=generator)
    other, b = torch.randn((2, ROWS // 2, OUT), generator=generator), torch.randn(OUT, generator=generator)
    weight, x, other = (tensor.to(dtype) for tensor in (weight, x, other))
    offset = b.to(dtype) if bias else None
    expected = FOLLOWED[post](
        nn.functional.linear(x.double(), weight.double(), None if offset is None else offset.double()), other.double()
    )
    kernels: list[nn.Module] = [PlainLinear(weight, offset, post)]
    if has_onednn(dtype):
        kernels.append(OneDNNLinear(weight, offset, ROWS, post))
    if dtype == torch.bfloat16:
        kernels.append(WidenedLinear(weight, offset, post))
    elif torch.backends.mkl.is_available():
        kernels.append(MKLLinear(weight, offset, ROWS, post))
    for kernel in kernels:
        ours = kernel(x, other if post in {"mul", "add"} else None)
        assert ours.dtype == dtype
        exact = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.06, "rtol": 0.02}
        torch.testing.assert_close(ours.double(), expected, **exact, msg=lambda m, k=kernel: f"{k}: {m}")


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch was built without MKL")
def test_mkl_refuses_other_numbers_of_rows() -> None:
    """Protects from a silent product with a weight that is gone."""
    with pytest.raises(ValueError, match="packed for 4 rows, called with 5"):
        MKLLinear(torch.ones(3, 2), None, 4)(torch.ones(5, 2))
