# SPDX-License-Identifier: Apache-2.0
"""How fast this machine multiplies matrices: the floor that no implementation of a network gets below."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

# The vision tower's largest product, over the tokens of two images.
_ROWS, _INNER, _OUTER = 2048, 768, 3072
# The instruction sets that decide what is fast, as Linux names them.
_TOLD = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm", "sve")


def processor() -> str:
    """Name of this machine's processor, and the instructions that products of matrices can use."""
    lines = (
        Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n", maxsplit=1)[0].splitlines()
    )
    fields = {name.strip(): value.strip() for name, value in (line.split(":", 1) for line in lines if ":" in line)}
    flags = {*fields.get("flags", fields.get("Features", "")).split()}
    return f"{fields.get('model name', 'processor')} ({' '.join(flag for flag in _TOLD if flag in flags)})"


def multiplies_bfloat16() -> bool:
    """Whether the processor does; elsewhere bfloat16 saves memory, and costs time."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def measure_gflops(precision: str) -> float:
    """The best speed that torch's libraries reach at a precision, 10⁹ operations a second.

    Where the processor has no bfloat16, what computes in it is measured by float32's speed.
    """
    dtype = getattr(torch, precision) if multiplies_bfloat16() else torch.float32
    weight, x = torch.randn(_OUTER, _INNER).to(dtype), torch.randn(_ROWS, _INNER).to(dtype)
    best = float("inf")
    with torch.inference_mode():
        products = _products(weight, x)
        for _ in range(6):
            for product in products:
                begin = time.perf_counter()
                product()
                best = min(best, time.perf_counter() - begin)
    return 2 * _ROWS * _INNER * _OUTER / best / 1e9


def _products(weight: torch.Tensor, x: torch.Tensor) -> list[Callable[[], torch.Tensor]]:
    """Ways to compute x·weightᵀ: by oneDNN with the weight packed, and by MKL."""
    products = [lambda: torch.nn.functional.linear(x, weight)]
    if torch.backends.mkldnn.is_available():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))
        products.append(lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], ""))
    if torch.backends.mkl.is_available() and weight.dtype == torch.float32:
        by_mkl = torch.ops.mkl._mkl_reorder_linear_weight(weight, len(x))
        products.append(lambda: torch.ops.mkl._mkl_linear(x, by_mkl, weight, None, len(x)))
    return products
