# SPDX-License-Identifier: Apache-2.0
"""Gradient checkpointing: memory for time, one layer at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch.utils.checkpoint import checkpoint

Result = TypeVar("Result")


def run_layer(layer: Callable[..., Result], *inputs: object, recompute: bool) -> Result:
    """Call ``layer``; with ``recompute`` its activations are not kept for the backward pass but computed again then."""
    if recompute and torch.is_grad_enabled():
        result: Result = checkpoint(layer, *inputs, use_reentrant=False)
        return result
    return layer(*inputs)
