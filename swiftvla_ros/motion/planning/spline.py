# SPDX-License-Identifier: Apache-2.0
"""A curve through rows of joint positions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.motion.chunk import NS

Array = NDArray[np.float64]


class SplinePath:
    """The cubic spline through rows at given times: continuous in position, velocity and acceleration.

    A spline, since the rows of a policy are samples of a smooth motion: linear interpolation would ask for a velocity
    step at each row, a C1 curve for a step of acceleration, and the limits would bend both. The first and last pieces
    keep their neighbour's second derivative, which guesses less from noisy rows than third-order ends do.

    ``rows`` [K, J] are positions at ``times`` [K], strictly increasing seconds after ``origin_ns``.
    """

    def __init__(self, origin_ns: int, times: Array, rows: Array) -> None:
        self.origin_ns = origin_ns
        self.end = float(times[-1])
        self.rows = rows
        self._times = times
        self._coefficients = _spline(times, rows)

    def peaks(self) -> tuple[Array, Array]:
        """Highest acceleration and jerk [J] between the rows."""
        c = self._coefficients
        h = (np.append(self._times[1:], self.end) - self._times)[: len(c), None]
        begin, end = 2 * c[:, 2], 2 * c[:, 2] + 6 * h * c[:, 3]
        acceleration, jerk = np.maximum(np.abs(begin), np.abs(end)), np.abs(6 * c[:, 3])
        return acceleration.max(axis=0), jerk.max(axis=0)

    def sample_at(self, t_ns: NDArray[np.int64]) -> Array:
        """The same as :meth:`sample` for times [N]."""
        return self.sample((t_ns - self.origin_ns).astype(np.float64) / NS)

    def sample(self, s: Array) -> Array:
        """Position and its first and second derivative [N, 3, J] at ``s`` [N] seconds after ``origin_ns``.

        Outside the rows the path goes straight on.
        """
        inside = np.clip(s, self._times[0], self.end)
        k = np.clip(np.searchsorted(self._times, inside, side="right") - 1, 0, len(self._coefficients) - 1)
        x = inside - self._times[k]
        one, zero = np.ones_like(x), np.zeros_like(x)
        basis = np.stack([one, x, x**2, x**3, zero, one, 2 * x, 3 * x**2, zero, zero, 2 * one, 6 * x], axis=1)
        state = basis.reshape(-1, 3, 4) @ self._coefficients[k]
        beyond = s - inside
        state[:, 0] += beyond[:, None] * state[:, 1]
        state[beyond != 0.0, 2] = 0.0
        return state


def smoothed(times: Array, rows: Array, strength: float) -> Array:
    """Rows [K, J] drawn to a smoother curve: least squares with the third differences at ``strength`` (Whittaker).

    Third differences, since they are the jerk: rows of even acceleration stay what they are.
    """
    h = np.diff(times)
    differences = np.eye(len(times))
    for order in (1, 2, 3):
        span = (times[order:] - times[:-order]) / (order * h.mean())
        differences = np.diff(differences, axis=0) / span[:, None]
    softened = np.eye(len(times)) + strength * differences.T @ differences
    return np.asarray(np.linalg.solve(softened, rows), dtype=np.float64)


def _spline(times: Array, rows: Array) -> Array:
    """Polynomial coefficients [K-1, 4, J] of the pieces, lowest order first."""
    count = len(times)
    if count == 1:
        return np.stack([rows[0], *np.zeros((3, rows.shape[1]))])[None]
    h = np.diff(times)
    slope = np.diff(rows, axis=0) / h[:, None]
    bend = np.zeros_like(rows)
    if count > 2:
        matrix = np.zeros((count, count))
        inner = np.arange(1, count - 1)
        matrix[inner, inner - 1] = h[:-1]
        matrix[inner, inner] = 2 * (h[:-1] + h[1:])
        matrix[inner, inner + 1] = h[1:]
        matrix[0, :2] = matrix[-1, -2:] = (1.0, -1.0)
        right = np.zeros_like(rows)
        right[1:-1] = 6 * np.diff(slope, axis=0)
        bend = np.asarray(np.linalg.solve(matrix, right), dtype=np.float64)
    first = slope - h[:, None] * (2 * bend[:-1] + bend[1:]) / 6
    third = np.diff(bend, axis=0) / (6 * h[:, None])
    return np.stack([rows[:-1], first, bend[:-1] / 2, third], axis=1)
