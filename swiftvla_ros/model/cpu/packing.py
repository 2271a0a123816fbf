# SPDX-License-Identifier: Apache-2.0
"""Packing: a network's layers are replaced by ones that are faster on this CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from swiftvla_ros.model.config import VisionConfig
from swiftvla_ros.model.cpu.kernel_choice import Call, KernelChoice
from swiftvla_ros.model.cpu.layers import (
    AttendPatches,
    PackedExpertLayer,
    PackedTextLayer,
    PackedVisionLayer,
    attend_patches,
    attend_patches_by_head,
)
from swiftvla_ros.model.cpu.linear import MKLLinear, OneDNNLinear, PlainLinear, Post, WidenedLinear
from swiftvla_ros.model.swiftvla import SwiftVLA
from swiftvla_ros.model.text_model import fused_norm

# A product of fewer multiplications takes a fraction of a millisecond: what surrounds it counts as much, and a timing
# would be chance. All of the nano network's are smaller.
_TIMED_FROM = 16_000_000
# Rows that the vision tower's MLP takes at a time in oneDNN's bfloat16: what lies between its layers then stays in the
# cache. float32 is slower than memory anyway.
_MLP_ROWS = 256


def pack(model: SwiftVLA, *, expert: bool = True, load: Callable[[nn.Module], None] = lambda _: None) -> None:
    """Replace a network's layers by packed ones, one by one, for batches of one observation.

    The network can't be trained or saved after that. Packed layers have no backward pass: where the expert's Jacobian
    is needed, ``expert`` False leaves it as it is. Each part is given to ``load`` before it is packed: so a network may
    come without weights, and no more than one part is ever held twice.
    """
    config, backbone = model.config, model.backbone
    dtype = backbone.text_model.norm.weight.dtype
    kernels = Kernels(dtype)
    tokens = config.num_cameras * config.vision.tokens
    # Instructions are short; the state and the Fusion Tokens come on top.
    prefix = tokens + 16
    patches = tokens * config.vision.scale_factor**2
    mlp_rows = _MLP_ROWS if dtype == torch.bfloat16 and has_onednn(dtype) else patches
    attend = kernels.patch_attention(config.vision, config.num_cameras)
    # Typed by what is put there, not by what is there.
    tower: Any = backbone.vision_model.encoder.layers
    text: Any = backbone.text_model
    action: Any = model.expert
    for i, layer in enumerate(tower):
        load(layer)
        tower[i] = PackedVisionLayer(layer, patches, mlp_rows, kernels.linear, attend)
    projection: Any = backbone.connector.modality_projection
    load(projection)
    projection.proj = kernels.linear([projection.proj], tokens)
    for i, layer in enumerate(text.layers):
        load(layer)
        text.layers[i] = PackedTextLayer(layer, prefix, kernels.linear)
    load(text.norm)
    text.norm = fused_norm(text.norm)
    if expert:
        for i, layer in enumerate(action.layers):
            load(layer)
            action.layers[i] = PackedExpertLayer(layer, config.horizon, prefix, kernels.linear)
        load(action.norm)
        action.norm = fused_norm(action.norm)
    kernels.save()


class Kernels:
    """Makes layers with the kernels that are fastest here for weights of ``dtype``."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._choice = KernelChoice(dtype)
        self._has_onednn = has_onednn(dtype)
        self.save = self._choice.save

    def linear(self, layers: Sequence[nn.Linear], rows: int, post: Post = "", *, always: bool = False) -> nn.Module:
        """Layers of one input as one, for so many ``rows``, or ``always`` exactly so many."""
        weight: Tensor = layers[0].weight.detach()
        bias: Tensor | None = layers[0].bias
        if len(layers) > 1:
            weight = torch.cat([layer.weight.detach() for layer in layers])
            bias = None if bias is None else torch.cat([layer.bias.detach() for layer in layers])
        kernels = self._kernels(rows, always=always)
        if weight.numel() * rows < _TIMED_FROM:
            name = "plain" if self._dtype == torch.float32 else next(iter(kernels))
        else:
            out, width = weight.shape
            x, other = torch.ones(rows, width, dtype=self._dtype), torch.ones(rows, out, dtype=self._dtype)
            other_or_none = other if post in {"mul", "add"} else None

            def prepare(kernel: Callable[..., nn.Module]) -> Call:
                return partial(kernel(weight, bias, post=post), x, other_or_none)

            what = f"{rows} x {width} -> {out} {post}".rstrip()
            name = self._choice.fastest(what, {name: partial(prepare, kernel) for name, kernel in kernels.items()})
        return kernels[name](weight, bias, post=post)

    def patch_attention(self, vision: VisionConfig, images: int) -> AttendPatches:
        """Attention of the tower's patches."""
        patches, heads = vision.tokens * vision.scale_factor**2, vision.num_heads
        ways: dict[str, AttendPatches] = {"fused": attend_patches, "by head": attend_patches_by_head}
        if images * patches**2 * vision.hidden_size < _TIMED_FROM:
            return attend_patches
        qkv = torch.ones(images, patches, 3, heads, vision.hidden_size // heads, dtype=self._dtype)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        what = f"attention of {images} x {patches} patches, {heads} heads of {q.shape[-1]}"
        return ways[self._choice.fastest(what, {name: partial(partial, way, q, k, v) for name, way in ways.items()})]

    def _kernels(self, rows: int, *, always: bool) -> dict[str, Callable[..., nn.Module]]:
        """What there is, the best guess first."""
        kernels: dict[str, Callable[..., nn.Module]] = {}
        if self._has_onednn:
            kernels["onednn"] = partial(OneDNNLinear, rows=rows)
        if self._dtype == torch.bfloat16:
            kernels["widened"] = WidenedLinear
        kernels["plain"] = PlainLinear
        if always and self._dtype == torch.float32 and torch.backends.mkl.is_available():
            kernels["mkl"] = partial(MKLLinear, rows=rows)
        return kernels


def has_onednn(dtype: torch.dtype) -> bool:
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
