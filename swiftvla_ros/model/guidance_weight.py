# SPDX-License-Identifier: Apache-2.0
"""How strongly a correction counts while a chunk is denoised; without torch, for runtimes that have none."""

from __future__ import annotations

MAX_WEIGHT = 5.0
"""β, the most that a correction is weighted with (the papers' value)."""


def guidance_weight(time: float, most: float) -> float:
    """How strongly the correction counts at flow time ``time``: ((1 - t)² + t²) / (t (1 - t)), at most ``most``."""
    below = time * (1.0 - time)
    return most if below <= 0 else min(most, ((1.0 - time) ** 2 + time**2) / below)
