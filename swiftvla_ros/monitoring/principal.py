# SPDX-License-Identifier: Apache-2.0
"""How far a vector is from a cloud of others: inside the directions in which the cloud spreads, and beside them.

The two parts are those of principal component analysis used for process monitoring: Hotelling's T² and the squared
prediction error Q (J. E. Jackson and G. S. Mudholkar, Technometrics 21, 1979).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Directions are kept until they hold so much of the variance, and no more than so many.
_VARIANCE = 0.999
_MOST = 96
# Where hardly anything is left beside the directions, this share of the whole spread is usual, not rounding.
_LEAST_RESIDUAL = 0.01


@dataclass(frozen=True)
class PrincipalDirections:
    """A cloud of vectors [D], as few numbers.

    Attributes
    ----------
    centre
        Mean [D].
    directions
        Orthonormal rows [K, D], in which the cloud spreads most.
    spread
        Standard deviations [K] along them.
    residual
        Root mean square of what is left beside them.
    """

    centre: Array
    directions: Array
    spread: Array
    residual: float

    @classmethod
    def of(cls, vectors: NDArray[np.floating[Any]]) -> PrincipalDirections:
        """The directions of a cloud [N, D]; what never varies has no direction and counts as residual."""
        cloud = np.asarray(vectors, dtype=np.float64)
        centre = cloud.mean(axis=0)
        away = cloud - centre
        _, singular, rows = np.linalg.svd(away, full_matrices=False)
        variance = singular**2 / max(1, len(cloud) - 1)
        total = variance.sum()
        count = int(np.searchsorted(np.cumsum(variance), _VARIANCE * total) + 1) if total > 0 else 0
        count = min(count, _MOST, int((variance > 1e-12 * max(total, 1e-12)).sum()))
        directions, spread = rows[:count], np.sqrt(variance[:count])
        beside = away - away @ directions.T @ directions
        residual = float(np.sqrt((beside**2).sum(axis=1).mean()))
        return cls(centre, directions, spread, max(residual, _LEAST_RESIDUAL * float(np.sqrt(total)), 1e-6))

    def distance(self, vectors: NDArray[np.floating[Any]]) -> Array:
        """The larger of both distances of each vector [..., D]; 1 is usual for the cloud's own."""
        away = np.asarray(vectors, dtype=np.float64) - self.centre
        along = away @ self.directions.T
        aside = np.maximum(_squares(away) - _squares(along), 0.0)
        beside = np.sqrt(aside) / self.residual
        if not len(self.spread):
            return np.asarray(beside)
        return np.asarray(np.maximum(np.sqrt(_squares(along / self.spread) / len(self.spread)), beside))


def _squares(vectors: Array) -> Array:
    """Sum of squares of each vector [..., D]."""
    return np.asarray(np.einsum("...i,...i->...", vectors, vectors))
