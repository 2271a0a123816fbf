# SPDX-License-Identifier: Apache-2.0
"""How to train: every decision of a run by name, with its reason. Imports no torch, so that ``--help`` is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MixedPrecision = Literal["auto", "no", "bf16", "fp16"]
Frozen = Literal["nothing", "vision", "backbone"]


@dataclass(frozen=True)
class LossWeights:
    """The λ of the paper's weighted total (eq. 9), which it does not give."""

    action: float = 1.0
    trajectory: float = 0.5
    # Small, so that neither leads the backbone: the features are standardised, the losses start near 0.4.
    reconstruct_2d: float = 0.05
    reconstruct_4d: float = 0.2
    # Spatial Forcing's; no part of the paper's total.
    alignment: float = 0.5


@dataclass(frozen=True)
class TrainOptions:
    """How to train."""

    steps: int  # optimiser steps
    batch: int = 64  # samples per step, over all processes and micro-batches
    # Micro-batches that a process's share of a batch is cut into (gradient accumulation), for less memory.
    accumulate: int = 1
    # Share of grounding scenes in a batch: 1 is the grounding stage; in the policy stages a part keeps words alive.
    scene_share: float = 0.25
    # AdamW with linear warm-up and cosine decay to a fiftieth.
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0
    noise_samples: int = 4  # noise samples and flow times per observation; they share the prefix, so more cost little
    weights: LossWeights = field(default_factory=LossWeights)  # weights of the losses
    # Each sample's 4D features come from a temporal cache of one of these lengths, drawn at random (paper, table 7).
    cache_steps: tuple[int, ...] = (3, 4, 5, 6)
    # What is not trained. In stage 2 the vision tower, since its features are what is reconstructed; where it is
    # trained, a frozen copy of the start's gives the target.
    frozen: Frozen = "nothing"
    average_decay: float = 0.99  # decay of the averaged weights that are validated and written
    validate_every: int = 200  # steps between two validations (and states on disk)
    stop_when_listening: float | None = None  # end as soon as both gauges reach this share; None trains all steps
    # Mixed precision of forward and backward pass; weights and their averages stay float32. "auto": bf16 where the
    # processor multiplies it, else none.
    precision: MixedPrecision = "auto"
    # On the text layers, which all losses share: what the auxiliary losses ask for loses what opposes the action's
    # gradient, and is no longer than that.
    restrain_auxiliary: bool = False
    log_gradients_every: int = 0  # steps between two measurements of each loss's gradient on them; 0: none
    # Compute activations again in the backward pass instead of keeping them: less memory, a third more work.
    gradient_checkpointing: bool = False
    seed: int = 0  # draws samples, noise, masks and augmentation
