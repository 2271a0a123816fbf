# SPDX-License-Identifier: Apache-2.0
"""A motion written down as states at even times, and read between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.motion.chunk import NS

Array = NDArray[np.float64]

INTERVAL_NS = 20_000_000
"""Time between the states of a table: short against a policy step, so that fades over one step keep their shape."""

_H = INTERVAL_NS / NS
_SCALE = np.array([1.0, _H, _H * _H])[:, None]

# powers of u from position, velocity * h and acceleration * h² at both ends
_QUINTIC = np.array(
    [
        (1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (0.0, 1.0, 0.0, 0.0, 0.0, 0.0),
        (0.0, 0.0, 0.5, 0.0, 0.0, 0.0),
        (-10.0, -6.0, -1.5, 10.0, -4.0, 0.5),
        (15.0, 8.0, 1.5, -15.0, 7.0, -1.0),
        (-6.0, -3.0, -0.5, 6.0, -3.0, 0.5),
    ]
)
_DERIVE = np.diag(np.arange(1.0, 6.0), 1) / _H
_BASIS = np.stack([_QUINTIC, _DERIVE @ _QUINTIC, _DERIVE @ _DERIVE @ _QUINTIC])


class Table:
    """Position, velocity and acceleration over time: a quintic between states, so continuous in all three.

    Before the first state it is undefined; after the last it stays, so the last should be at rest.

    Parameters
    ----------
    begin_ns
        Time of the first state.
    states
        [N >= 2, 3, J], ``INTERVAL_NS`` apart.
    """

    def __init__(self, begin_ns: int, states: Array) -> None:
        self.begin_ns = begin_ns
        self.end_ns = begin_ns + (len(states) - 1) * INTERVAL_NS
        self._last = states[-1]
        self._scaled = states * _SCALE

    def sample(self, t_ns: int) -> Array:
        """State [3, J] at a time."""
        k, rest = divmod(t_ns - self.begin_ns, INTERVAL_NS)
        if t_ns >= self.end_ns:
            return self._last
        u = rest / INTERVAL_NS
        u2 = u * u
        powers = np.array((1.0, u, u2, u2 * u, u2 * u2, u2 * u2 * u))
        return np.asarray(powers @ _BASIS @ self._scaled[k : k + 2].reshape(6, -1))

    def sample_all(self, t_ns: NDArray[np.int64]) -> Array:
        """States [N, 3, J] at times [N]."""
        t_ns = np.clip(t_ns, self.begin_ns, self.end_ns)
        k = np.minimum((t_ns - self.begin_ns) // INTERVAL_NS, len(self._scaled) - 2)
        u = (t_ns - self.begin_ns - k * INTERVAL_NS) / INTERVAL_NS
        ends = np.concatenate([self._scaled[k], self._scaled[k + 1]], axis=1)
        powers = u[:, None] ** np.arange(6)
        return np.asarray((powers[:, None, None, :] @ _BASIS)[:, :, 0] @ ends)
