# SPDX-License-Identifier: Apache-2.0
"""Flow matching between noise (t = 1) and actions (t = 0), as in π0 and SmolVLA.

The paper writes its action loss as noise prediction (eq. 8) but starts from SmolVLA, whose weights predict velocity; so
does this network.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def sample_time(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Float[Tensor, ...]:
    """Training times 0.999 · Beta(1.5, 1) + 0.001, which lean towards noise (π0, arXiv 2410.24164, appendix B).

    Beta(1.5, 1) has the distribution function t^1.5, so it is sampled by its inverse.
    """
    uniform = torch.rand(shape, generator=generator, device=device)
    return 0.999 * uniform ** (1 / 1.5) + 0.001


def interpolate(
    actions: Float[Tensor, "b r h a"], noise: Float[Tensor, "b r h a"], time: Float[Tensor, "b r #h"]
) -> tuple[Float[Tensor, "b r h a"], Float[Tensor, "b r h a"]]:
    """Noisy actions x_t = t·ε + (1 − t)·a and the velocity u = ε − a that the network learns; t of chunks or rows."""
    t = time[..., None]
    return t * noise + (1 - t) * actions, noise - actions


def denoising_times(steps: int, device: torch.device) -> Float[Tensor, " steps"]:
    """Flow times at which :func:`integrate` asks for the velocity."""
    return (1 - torch.arange(steps, device=device, dtype=torch.float64) / steps).float()


def integrate(
    velocity: Callable[[Float[Tensor, "b r h a"], int], Float[Tensor, "b r h a"]],
    noise: Float[Tensor, "b r h a"],
    steps: int,
) -> Float[Tensor, "b r h a"]:
    """Euler steps from t = 1 to t = 0; ``velocity`` is told the number of the step."""
    x = noise
    for step in range(steps):
        x = x - velocity(x, step) / steps
    return x
