# SPDX-License-Identifier: Apache-2.0
"""The smooth step: from one place to another, at rest at both ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def smooth_step(u: Array | float, height: float = 1.0) -> Array:
    """From 0 at ``u`` 0 to ``height`` at ``u`` 1, without velocity or acceleration there (quintic); 0 ≤ ``u`` ≤ 1."""
    # Replays compare bits: another form of the polynomial, or another order of its factors, rounds otherwise.
    return np.asarray(height * u**3 * (10.0 + u * (6.0 * u - 15.0)))
