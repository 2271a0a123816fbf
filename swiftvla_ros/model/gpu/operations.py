# SPDX-License-Identifier: Apache-2.0
"""Operations that are one kernel on a GPU in inference, where triton is installed, and torch's own elsewhere."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swiftvla_ros.model import attention
from swiftvla_ros.model.attention import Mask, Rotation


def rotate(x: Float[Tensor, "b n h hd"], by: Rotation) -> Float[Tensor, "b n h hd"]:
    """As :func:`attention.rotate`."""
    if kernels := _kernels(x):
        rotated: Tensor = kernels.rotate(x, *by)
        return rotated
    return attention.rotate(x, by)


def attend(
    x: Float[Tensor, "b n w"],
    by: Rotation,
    k: Float[Tensor, "b m kv hd"],
    v: Float[Tensor, "b m kv hd"],
    mask: Mask,
    heads: int,
    *,
    own: bool,
) -> Float[Tensor, "b n h*hd"]:
    """Rotate the queries of so many ``heads``, with which ``x`` begins, and let them see keys and values.

    If they have their ``own``, these follow in ``x``, and are seen after ``k`` and ``v``.
    """
    kernels = _kernels(x) if len(x) == 1 and mask is not None and mask.dtype == x.dtype else None
    if kernels:
        mixed: Tensor = kernels.attend(x, by, k, v, mask, heads, own=own)
        return mixed
    kv, head_dim = k.shape[2:]
    parts = x.unflatten(-1, (-1, head_dim))
    if own:
        k = torch.cat([k, rotate(parts[:, :, heads : heads + kv], by)], dim=1)
        v = torch.cat([v, parts[:, :, heads + kv :]], dim=1)
    return attention.attend(rotate(parts[:, :, :heads], by), k, v, mask)


def silu_times(gate_and_up: Float[Tensor, "b n two*d"]) -> Float[Tensor, "b n d"]:
    """Give silu(gate) · up."""
    if kernels := _kernels(gate_and_up):
        gated: Tensor = kernels.silu_times(gate_and_up)
        return gated
    gate, up = gate_and_up.chunk(2, dim=-1)
    return nn.functional.silu(gate) * up


def add_and_normalize(
    x: Float[Tensor, "b n d"], y: Float[Tensor, "b n d"], norm: nn.RMSNorm
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n d"]]:
    """Give x + y, and its norm."""
    if kernels := _kernels(x):
        both: tuple[Tensor, Tensor] = kernels.add_and_normalize(x, y, norm.weight, norm.eps)
        return both
    added = x + y
    return added, norm(added)


def _kernels(x: Tensor) -> ModuleType | None:
    """None where a gradient is wanted, and where a compiler makes kernels of its own."""
    if not x.is_cuda or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return None
    return _triton_kernels()


@cache
def _triton_kernels() -> ModuleType | None:
    if find_spec("triton") is None:
        return None
    from swiftvla_ros.model.gpu import triton_kernels

    return triton_kernels
