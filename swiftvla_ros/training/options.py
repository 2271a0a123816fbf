# SPDX-License-Identifier: Apache-2.0
"""How to train: every decision of a run by name, with its reason. Imports no torch, so that ``--help`` is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Precision = Literal["no", "bf16", "fp16"]
Frozen = Literal["nothing", "vision", "backbone"]


@dataclass(frozen=True)
class LossWeights:
    """The λ of the paper's weighted total (eq. 9), which it does not give."""

    action: float = 1.0
    trajectory: float = 0.5
    # Small, so that neither leads the backbone: the features are standardised, the losses start near 0.4.
    reconstruct_2d: float = 0.05
    reconstruct_4d: float = 0.2


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Attributes
    ----------
    steps
        Optimiser steps.
    batch
        Samples per step, over all processes and micro-batches.
    accumulate
        Micro-batches that a process's share of a batch is cut into (gradient accumulation), for less memory.
    scene_share
        Share of grounding scenes in a batch: 1 is the grounding stage; in the policy stages a part keeps words alive.
    learning_rate, warmup_steps, weight_decay, betas, clip_norm
        AdamW with linear warm-up and cosine decay to a fiftieth.
    noise_samples
        Noise samples and flow times per observation; they share the prefix, so more cost little.
    weights
        Weights of the losses.
    cache_steps
        Each sample's 4D features come from a temporal cache of one of these lengths, drawn at random (paper, table 7).
    frozen
        What is not trained. In stage 2 the vision tower, since its features are what is reconstructed.
    average_decay
        Decay of the averaged weights that are validated and written.
    validate_every
        Steps between two validations (and states on disk).
    stop_when_listening
        End as soon as both gauges reach this share; None trains all steps.
    precision
        Mixed precision of forward and backward pass; weights and their averages stay float32.
    gradient_checkpointing
        Compute activations again in the backward pass instead of keeping them: less memory, a third more work.
    seed
        Draws samples, noise, masks and augmentation.
    """

    steps: int
    batch: int = 64
    accumulate: int = 1
    scene_share: float = 0.25
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0
    noise_samples: int = 4
    weights: LossWeights = field(default_factory=LossWeights)
    cache_steps: tuple[int, ...] = (3, 4, 5, 6)
    frozen: Frozen = "nothing"
    average_decay: float = 0.99
    validate_every: int = 200
    stop_when_listening: float | None = None
    precision: Precision = "bf16"
    gradient_checkpointing: bool = False
    seed: int = 0
