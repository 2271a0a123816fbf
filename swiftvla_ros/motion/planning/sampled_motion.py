# SPDX-License-Identifier: Apache-2.0
"""A motion written down as states at even times, and read between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.motion.chunk import NS

Array = NDArray[np.float64]

INTERVAL_NS = 20_000_000
"""Time between the states: short against a policy step, so that fades over one step keep their shape."""

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


class SampledMotion:
    """Position, velocity and acceleration over time: a quintic between states, so continuous in all three.

    ``states`` [N >= 2, 3, J] are ``INTERVAL_NS`` apart. Before the first, at ``begin_ns``, it is undefined; after the
    last it stays, so the last should be at rest.
    """

    def __init__(self, begin_ns: int, states: Array) -> None:
        self.begin_ns = begin_ns
        self.end_ns = begin_ns + (len(states) - 1) * INTERVAL_NS
        self._last = states[-1]
        self._scaled = states * _SCALE

    def sample(self, t_ns: int, fraction: float = 0.0) -> Array:
        """State [3, J] at a time, in ns and a fraction of one."""
        if t_ns >= self.end_ns:
            return self._last
        k, rest = divmod(t_ns - self.begin_ns, INTERVAL_NS)
        return np.asarray(_weights((rest + fraction) / INTERVAL_NS) @ self._scaled[k : k + 2].reshape(6, -1))

    def plus(self, states: Array) -> SampledMotion:
        """The sum with ``states`` [N, 3, J] that begin at the same time; the shorter of both stays at its end."""
        count = max(len(self._scaled), len(states))
        held = np.concatenate([states, np.repeat(states[-1:], count - len(states), axis=0)])
        return SampledMotion(self.begin_ns, self.sample_from(self.begin_ns, count) + held)

    def sample_from(self, begin_ns: int, count: int) -> Array:
        """``count`` states [N, 3, J] from a time on, ``INTERVAL_NS`` apart."""
        first, rest = divmod(begin_ns - self.begin_ns, INTERVAL_NS)
        weights = _weights(rest / INTERVAL_NS)
        last = len(self._scaled) - 1
        before = np.minimum(first + np.arange(count + 1), last)
        states = self._scaled[before]
        sampled = weights[:, :3] @ states[:-1] + weights[:, 3:] @ states[1:]
        sampled[before[:-1] == last] = self._last
        return np.asarray(sampled)


def sample_times(begin_ns: int, end_ns: int) -> NDArray[np.int64]:
    """Times [N] of the states of a motion, ``INTERVAL_NS`` apart, that lasts until ``end_ns`` at least."""
    return begin_ns + INTERVAL_NS * np.arange(max(-(-(end_ns - begin_ns) // INTERVAL_NS), 1) + 1, dtype=np.int64)


def _weights(u: float) -> Array:
    """What the two states around a place between them count for [3, 6]."""
    u2 = u * u
    return np.asarray(np.array((1.0, u, u2, u2 * u, u2 * u2, u2 * u2 * u)) @ _BASIS)
