# SPDX-License-Identifier: Apache-2.0
"""Chunk guidance: while a chunk is denoised, its first rows are held to what the arm will have done when it arrives.

Three ways, for the rows of the present plan that the new chunk overlaps:

- ``vjp``: real-time chunking (arXiv 2506.07339), as in its reference code (real-time-chunking-kinetix,
  ``realtime_action``). The denoised estimate of the whole chunk is compared with the plan, and the weighted error is
  brought back through the denoiser by its vector-Jacobian product.
- ``identity``: the same with the identity in place of that Jacobian. No backward pass; what lerobot's code computed
  for long under the name of real-time chunking, since its estimate was made before its input required a gradient.
- ``trained``: rows that will have been executed are given clean, with flow time 0, to a network that was trained so
  (arXiv 2512.05964). No other work at inference.

The papers' time τ runs from noise (0) to actions (1) and their velocity points to the actions; our flow time is
t = 1 - τ and our velocity points to the noise. So with ours their estimate is x - t·v, their weight
min(β, (1 - τ)/τ · (τ² + (1 - τ)²)/(1 - τ)²) is min(β, ((1 - t)² + t²) / (t (1 - t))), and their correction, which is
added to a velocity towards the actions, is subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from swiftvla_ros.model.guidance_weight import MAX_WEIGHT, guidance_weight

Method = Literal["vjp", "identity", "trained"]
METHODS: tuple[str, ...] = get_args(Method)

Velocity = Callable[[Tensor, int], Tensor]
"""x_t [b, r, h, a] and the number of the denoising step → velocity [b, r, h, a]."""


@dataclass(frozen=True)
class Guidance:
    """What a chunk is held to."""

    method: Method  # see the module
    # Normalised rows of the present plan [b, h, a], at the new chunk's times; where `held` is 0 they are not read.
    rows: Float[Tensor, "b h a"]
    executed: Bool[Tensor, " h"]  # rows that will have been executed when the chunk arrives
    held: Float[Tensor, " h"]  # how strongly each row is held (soft_mask)
    max_weight: float = MAX_WEIGHT  # β

    @classmethod
    def over(cls, method: Method, rows: Float[Tensor, "b h a"], frozen: int, overlap: int) -> Guidance:
        """Hold to ``rows``, of which ``frozen`` will have been executed; the present plan reaches ``overlap``."""
        horizon = rows.shape[1]
        if not 0 <= frozen <= overlap <= horizon:
            raise ValueError(f"frozen {frozen}, overlap {overlap}: write 0 ≤ frozen ≤ overlap ≤ {horizon}")
        held = soft_mask(frozen, overlap, horizon).to(rows.device)
        return cls(method, rows, torch.arange(horizon, device=rows.device) < frozen, held)

    def row_times(self, times: Float[Tensor, " steps"]) -> Float[Tensor, "steps rows"]:
        """Flow times at each denoising step: of every row (rows = h), or one for all (rows = 1)."""
        if self.method != "trained":
            return times[:, None]
        return times[:, None].masked_fill(self.executed, 0.0)

    def start(self, noise: Float[Tensor, "b r h a"]) -> Float[Tensor, "b r h a"]:
        """What the integration begins with."""
        if self.method != "trained":
            return noise
        return torch.where(self.executed[:, None], self.rows[:, None].to(noise), noise)

    def steer(self, velocity: Velocity, times: Float[Tensor, " steps"]) -> Velocity:
        """The velocity that leads to a chunk which continues the plan; ``times`` lie on the CPU, for they are read."""
        if self.method == "trained":
            executed = self.executed[:, None]
            return lambda x, step: velocity(x, step).masked_fill(executed, 0.0)
        mask = self.held[:, None]
        target = torch.where(mask > 0, self.rows, 0.0)[:, None]
        if self.method == "vjp" and torch.is_inference_mode_enabled():
            raise RuntimeError("a vector-Jacobian product needs autograd, which torch.inference_mode() switches off")
        correct = _through_denoiser if self.method == "vjp" else _as_it_is
        flow_times = times.tolist()
        # One of n steps goes an n-th of the way: more than n times the error would be more than all of it.
        most = min(self.max_weight, float(len(flow_times)))

        def steered(x: Tensor, step: int) -> Tensor:
            time = flow_times[step]
            v, correction = correct(velocity, x, step, time, target, mask)
            return v - guidance_weight(time, most) * correction

        return steered


def soft_mask(frozen: int, overlap: int, horizon: int) -> Float[Tensor, " h"]:
    """How strongly each row is held: 1 where it will have been executed, falling to 0 at the plan's end.

    W_i = c_i (e^c_i - 1)/(e - 1) with c_i = (overlap - i) / (overlap - frozen + 1), between the two (paper, eq. 5).
    """
    rows = torch.arange(horizon, dtype=torch.float32)
    c = ((overlap - rows) / (overlap - frozen + 1)).clamp(0.0, 1.0)
    return torch.where(rows < frozen, 1.0, c * torch.expm1(c) / (math.e - 1))


def _through_denoiser(
    velocity: Velocity, x: Tensor, step: int, time: float, target: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """The velocity, and the weighted error of the denoised estimate times the Jacobian of that estimate by x_t."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        v = velocity(x, step)
        clean = x - time * v
    (correction,) = torch.autograd.grad(clean, x, mask * (target - clean.detach()))
    return v.detach(), correction


def _as_it_is(
    velocity: Velocity, x: Tensor, step: int, time: float, target: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """The velocity, and the weighted error of the denoised estimate."""
    v = velocity(x, step)
    return v, mask * (target - (x - time * v))
