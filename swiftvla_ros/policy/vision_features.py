# SPDX-License-Identifier: Apache-2.0
"""One vector for what the vision encoder made of an image: small enough to be published with every chunk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pooled(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    """The tokens' mean, [p, d] → [d]: of what was tried, what tells most unlike pictures (docs/monitors.md)."""
    return np.asarray(tokens.mean(axis=0), dtype=np.float32)
