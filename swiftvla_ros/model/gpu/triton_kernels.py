# SPDX-License-Identifier: Apache-2.0
"""Kernels for inference on a GPU, each in place of several of torch's.

The action expert's layers are so small that a chunk takes as long as it has kernels. Use ``operations``.
"""
# Arguments of kernels are pointers and numbers that triton's compiler types.
# ruff: noqa: ANN001, ANN202, N803
# mypy: disable-error-code="no-untyped-def, import-not-found"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _rotate(x, cos, sin, y, heads, x_stride, HEADS: tl.constexpr, HALF: tl.constexpr) -> None:
    row = tl.program_id(0)
    head, channel = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    there = head < heads
    at = head * 2 * HALF + channel
    first = tl.load(x + row * x_stride + at, there).to(tl.float32)
    second = tl.load(x + row * x_stride + at + HALF, there).to(tl.float32)
    angle = row * 2 * HALF + channel
    low = first * tl.load(cos + angle) + second * tl.load(sin + angle)
    high = second * tl.load(cos + angle + HALF) + first * tl.load(sin + angle + HALF)
    out = y + row * heads * 2 * HALF + at
    tl.store(out, low, there)
    tl.store(out + HALF, high, there)


@triton.jit
def _rotated(x, cos, sin, at, angle, there, HALF: tl.constexpr):
    """Both halves of heads that lie ``at``, rotated and rounded."""
    first = tl.load(x + at, there, 0).to(tl.float32)
    second = tl.load(x + at + HALF, there, 0).to(tl.float32)
    low = first * tl.load(cos + angle, there, 0) + second * tl.load(sin + angle, there, 0)
    high = second * tl.load(cos + angle + HALF, there, 0) + first * tl.load(sin + angle + HALF, there, 0)
    return low.to(x.dtype.element_ty), high.to(x.dtype.element_ty)


@triton.jit
def _seen(
    low, high, k_low, k_high, v, v_at, v_there, addend, best, total, mixed_low, mixed_high, scale, HALF: tl.constexpr
):
    """Let queries see a block of keys and values: the softmax so far, and what it mixes."""
    scores = tl.dot(low, tl.trans(k_low), input_precision="ieee")
    scores = (scores + tl.dot(high, tl.trans(k_high), input_precision="ieee")) * scale + addend
    better = tl.maximum(best, tl.max(scores, 1))
    weights, fade = tl.exp(scores - better[:, None]), tl.exp(best - better)
    v_low, v_high = tl.load(v + v_at, v_there, 0), tl.load(v + v_at + HALF, v_there, 0)
    rounded = weights.to(v.dtype.element_ty)
    mixed_low = mixed_low * fade[:, None] + tl.dot(rounded, v_low, input_precision="ieee")
    mixed_high = mixed_high * fade[:, None] + tl.dot(rounded, v_high, input_precision="ieee")
    return better, total * fade + tl.sum(weights, 1), mixed_low, mixed_high


@triton.jit
def _attend(
    x, cos, sin, k, v, mask, out, n, m, scale, x_stride, k_stride, v_stride, mask_stride,
    HEADS: tl.constexpr, KV: tl.constexpr, HALF: tl.constexpr, OWN: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None], tl.program_id(1)
    half = tl.arange(0, HALF)[None, :]
    kv, width = head // (HEADS // KV), 2 * HALF
    here = row < n
    low, high = _rotated(x, cos, sin, row * x_stride + head * width + half, row * width + half, here, HALF)
    best, total = tl.full([ROWS], float("-inf"), tl.float32), tl.zeros([ROWS], tl.float32)
    mixed_low, mixed_high = tl.zeros([ROWS, HALF], tl.float32), tl.zeros([ROWS, HALF], tl.float32)
    for start in range(0, m, BLOCK):
        key, column = start + tl.arange(0, BLOCK)[:, None], start + tl.arange(0, BLOCK)[None, :]
        at = k + key * k_stride + kv * width + half
        k_low, k_high = tl.load(at, key < m, 0), tl.load(at + HALF, key < m, 0)
        addend = tl.load(mask + row * mask_stride + column, here & (column < m), float("-inf")).to(tl.float32)
        v_at = key * v_stride + kv * width + half
        best, total, mixed_low, mixed_high = _seen(
            low, high, k_low, k_high, v, v_at, key < m, addend, best, total, mixed_low, mixed_high, scale, HALF
        )
    if OWN:
        for start in range(0, n, BLOCK):
            key, column = start + tl.arange(0, BLOCK)[:, None], start + tl.arange(0, BLOCK)[None, :]
            at = key * x_stride + (HEADS + kv) * width + half
            k_low, k_high = _rotated(x, cos, sin, at, key * width + half, key < n, HALF)
            addend = tl.load(mask + row * mask_stride + m + column, here & (column < n), float("-inf"))
            addend = addend.to(tl.float32)
            best, total, mixed_low, mixed_high = _seen(
                low, high, k_low, k_high, x, at + KV * width, key < n, addend,
                best, total, mixed_low, mixed_high, scale, HALF,
            )  # fmt: skip
    at = out + (row * HEADS + head) * width + half
    tl.store(at, mixed_low / total[:, None], here)
    tl.store(at + HALF, mixed_high / total[:, None], here)


@triton.jit
def _silu_times(x, y, width, BLOCK: tl.constexpr) -> None:
    row, column = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = column < width
    gate = tl.load(x + row * 2 * width + column, there).to(tl.float32)
    up = tl.load(x + row * 2 * width + width + column, there).to(tl.float32)
    tl.store(y + row * width + column, gate * tl.sigmoid(gate) * up, there)


@triton.jit
def _add_and_normalize(x, y, weight, added, normalized, width, eps, BLOCK: tl.constexpr) -> None:
    column = tl.arange(0, BLOCK)
    at, there = tl.program_id(0) * width + column, column < width
    total = tl.load(x + at, there, 0).to(tl.float32) + tl.load(y + at, there, 0).to(tl.float32)
    rounded = total.to(added.dtype.element_ty)
    tl.store(added + at, rounded, there)
    total = rounded.to(tl.float32)
    scale = tl.rsqrt(tl.sum(total * total) / width + eps)
    tl.store(normalized + at, total * scale * tl.load(weight + column, there, 0).to(tl.float32), there)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """See :func:`swiftvla_ros.model.operations.rotate`; x [b, n, h, hd], cos and sin [b, n, 1, hd]."""
    b, n, heads, head_dim = x.shape
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    # Heads lie one after the other; rows may be parts of longer ones.
    assert x.stride(3) == 1
    assert x.stride(2) == head_dim
    assert b == 1 or x.stride(0) == n * x.stride(1)
    block = triton.next_power_of_2(heads)
    _rotate[(b * n,)](x, cos.contiguous(), sin.contiguous(), y, heads, x.stride(1), block, head_dim // 2, num_warps=4)
    return y


def attend(
    x: Tensor, by: tuple[Tensor, Tensor], k: Tensor, v: Tensor, mask: Tensor, heads: int, *, own: bool
) -> Tensor:
    """Rotate queries and let them see ``k`` and ``v`` [1, m, kv, hd], and those of ``own`` after them.

    ``x`` [1, n, w] holds the queries of all heads and, if they have their ``own``, keys and values. ``mask`` is added.
    """
    n, (m, kv, head_dim) = x.shape[1], k.shape[1:]
    assert len(x) == 1
    assert x.stride(2) == k.stride(3) == v.stride(3) == mask.stride(2) == 1
    assert k.stride(2) == v.stride(2) == head_dim
    out = torch.empty((1, n, heads * head_dim), dtype=x.dtype, device=x.device)
    rows, block = 16, 64
    _attend[(triton.cdiv(n, rows), heads)](
        x, *(angles.contiguous() for angles in by), k, v, mask, out, n, m, head_dim**-0.5,
        x.stride(1), k.stride(1), v.stride(1), mask.stride(1), heads, kv, head_dim // 2, own, rows, block, num_warps=4,
    )  # fmt: skip
    return out


def silu_times(gate_and_up: Tensor) -> Tensor:
    """See :func:`swiftvla_ros.model.operations.silu_times`."""
    *rows, both = gate_and_up.shape
    y = torch.empty((*rows, both // 2), dtype=gate_and_up.dtype, device=gate_and_up.device)
    block = 1024
    grid = (y.numel() // (both // 2), triton.cdiv(both // 2, block))
    _silu_times[grid](gate_and_up.contiguous(), y, both // 2, block, num_warps=4)
    return y


def add_and_normalize(x: Tensor, y: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """See :func:`swiftvla_ros.model.operations.add_and_normalize`."""
    x, y, width = x.contiguous(), y.contiguous(), x.shape[-1]
    added, normalized = torch.empty_like(x), torch.empty_like(x)
    block = triton.next_power_of_2(width)
    _add_and_normalize[(x.numel() // width,)](x, y, weight, added, normalized, width, eps, block, num_warps=4)
    return added, normalized
