# SPDX-License-Identifier: Apache-2.0
"""From where on a distance is beyond what is usual: bounds for a stated rate of false alarms, from held-out runs.

A run's highest distance is what raises an alarm. Few runs are at hand and alarms shall be rare, so the upper half of
the runs' highest distances is taken for an exponential tail and drawn out (peaks over a threshold: A. C. Davison and
R. L. Smith, J. R. Stat. Soc. B 52, 1990, with shape 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TAIL = 0.5
# Runs that this takes at least.
LEAST_RUNS = 10


@dataclass(frozen=True)
class FalseAlarms:
    """How many alarms for nothing an hour of motion may have, over all parts together."""

    slow_per_hour: float = 12.0
    hold_per_hour: float = 2.0


@dataclass(frozen=True)
class AlarmBounds:
    """From where on each part [P] slows and holds, for the stated rates, as found in so many ``runs`` and ``hours``."""

    slow_at: Array
    hold_at: Array
    alarms: FalseAlarms
    runs: int
    hours: float


def calibrate(
    runs: Sequence[Array], period_s: float, least: Array, looks: int = 2, alarms: FalseAlarms = FalseAlarms()
) -> AlarmBounds:
    """AlarmBounds [P] from distances of held-out runs, each [T, P], looked at each ``period_s``.

    ``least`` [2, P] is the lowest that the two bounds become; so many ``looks`` in a row count as one.
    """
    highest = np.array([_sustained(run, looks) for run in runs])
    hours = sum(len(run) for run in runs) * period_s / 3600
    parts, per_run = highest.shape[1], hours / len(runs)
    slow, hold = (_tail(highest, rate * per_run / parts) for rate in (alarms.slow_per_hour, alarms.hold_per_hour))
    slow = np.maximum(slow, least[0])
    return AlarmBounds(slow, np.maximum(np.maximum(hold, least[1]), slow), alarms, len(runs), hours)


def _sustained(run: Array, looks: int) -> Array:
    """The highest [P] that ``looks`` in a row reached."""
    windows = np.lib.stride_tricks.sliding_window_view(run, min(looks, len(run)), axis=0)
    return np.asarray(windows.min(axis=-1).max(axis=0))


def _tail(highest: Array, share: float) -> Array:
    """What only ``share`` of runs go beyond."""
    start = np.quantile(highest, 1 - _TAIL, axis=0)
    scale = np.maximum(highest - start, 0).sum(axis=0) / np.maximum((highest > start).sum(axis=0), 1)
    return np.asarray(start + scale * np.log(_TAIL / min(share, _TAIL)))
