# SPDX-License-Identifier: Apache-2.0
"""Where a leader goes in the next moments: a curve through its newest poses, continued and brought to rest.

A chunk is worth what it knows of the time after its arrival. Poses that are played back with a delay are known, but the
follower lags by that delay; so the curve through them is continued instead. ``benchmarks/teleop_lag.py`` compares.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NS = 1_000_000_000

_OLDEST_S = 0.15  # what is older than this is no basis to go on


@dataclass(frozen=True)
class PredictionSettings:
    """How poses become rows; times in s.

    Attributes
    ----------
    window_s
        Poses of so long are fitted: longer is calmer, and slower to notice that the hand changed its mind.
    degree
        Of the polynomial through them.
    ahead_s
        For how long after now the curve goes on as it was, now being later than the newest pose.
    rest_s
        In how long it comes to rest after that, so that a leader that falls silent stops the follower by itself.
    delay_s
        How far back poses are played, beside the prediction.
    past_s
        Rows before the newest pose, which give the executor's curve its shape.
    step_s
        Between rows.
    """

    window_s: float = 0.16
    degree: int = 2
    ahead_s: float = 0.05
    rest_s: float = 0.2
    delay_s: float = 0.0
    past_s: float = 0.05
    step_s: float = 0.05


class LeaderPrediction:
    """Keeps the newest poses of a leader, and draws the rows of a chunk from them."""

    def __init__(self, settings: PredictionSettings | None = None) -> None:
        self.settings = settings or PredictionSettings()
        self._poses: deque[tuple[int, Array]] = deque(maxlen=256)

    def forget(self) -> None:
        """Begin anew."""
        self._poses.clear()

    def take(self, pose: Array, stamp_ns: int) -> None:
        """Keep a pose [J] that is newer than the last."""
        self._poses.append((stamp_ns, pose))
        while stamp_ns - self._poses[0][0] > self.settings.window_s * NS:
            self._poses.popleft()

    def rows(self, now_ns: int) -> tuple[int, Array]:
        """The stamp of row 0, and rows [R, J] a step apart; there must be a pose.

        Up to the newest pose they are the curve through the poses, after it the curve's continuation.
        """
        s = self.settings
        newest_ns = self._poses[-1][0]
        ahead_s = s.ahead_s + min(max((now_ns - newest_ns) / NS, 0.0), _OLDEST_S)
        times = np.array([(ns - newest_ns) / NS for ns, _ in self._poses])
        poses = np.array([pose for _, pose in self._poses])
        # Few poses, or poses that cover too short a time, say nothing of speed.
        degree = min(s.degree, len(times) - 1) if times[0] < -0.3 * s.window_s else 0
        fit = np.polynomial.polynomial.polyfit(times, poses, degree)
        back, ahead = round(s.past_s / s.step_s), round((ahead_s + s.rest_s) / s.step_s) + 1
        rows = _curve(fit, s.step_s * np.arange(-back, ahead + 1, dtype=np.float64), ahead_s, s.rest_s)
        return newest_ns + round((s.delay_s - back * s.step_s) * NS), rows


def _curve(fit: Array, t: Array, ahead_s: float, rest_s: float) -> Array:
    """The polynomial ``fit`` [k, J] at times [R] s; after ``ahead_s`` its speed fades to nothing within ``rest_s``."""
    inside = np.minimum(t, ahead_s)
    position = np.polynomial.polynomial.polyval(inside, fit).T
    velocity = np.polynomial.polynomial.polyval(ahead_s, np.polynomial.polynomial.polyder(fit))
    u = np.clip((t - ahead_s) / rest_s, 0.0, 1.0)
    # The integral of 1 - smoothstep(u).
    return np.asarray(position + (rest_s * (u - u**3 + u**4 / 2))[:, None] * velocity)
