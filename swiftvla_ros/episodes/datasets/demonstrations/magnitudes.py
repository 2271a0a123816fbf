# SPDX-License-Identifier: Apache-2.0
"""Positions that can't be in the unit that the contract says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.message_types import BagError

# Calibrations differ, and an arm that is pushed by hand overshoots: a whole range beyond a limit is another unit.
_RANGES_BEYOND = 1.0


def check_magnitude(topic: str, position: NDArray[np.float64], contract: Contract) -> None:
    """Refuse positions [..., J], rad or m, that no calibration explains: a whole range beyond their limits.

    Raises
    ------
    BagError
        It names topic and joint, and the unit that would fit.
    """
    limits = contract.limits
    low, high = limits.min_position, limits.max_position
    with np.errstate(invalid="ignore"):  # a continuous joint has an endless range
        beyond = np.maximum(low - position, position - high) > _RANGES_BEYOND * (high - low)
    if not beyond.any():
        return
    joint = int(np.argwhere(beyond)[0][-1])
    value = float(position.reshape(-1, len(low))[:, joint][beyond.reshape(-1, len(low))[:, joint]][0])
    known = contract.joints[joint]
    raw = float(contract.from_si(np.array([value]), np.array([joint]))[0])
    raise BagError(
        f"{topic}: {known.name} is at {raw:.4g}, as `unit: {known.unit}` {value:.4g} {_si(known.unit)}, far outside "
        f"{[round(known.lowest, 3), round(known.highest, 3)]}; {_fix(raw, known.unit, known.lowest, known.highest)}"
    )


def _si(unit: str) -> str:
    return "m" if unit in ("m", "mm") else "rad"


def _fix(raw: float, unit: str, low: float, high: float) -> str:
    other, factor = {"rad": ("deg", np.pi / 180), "m": ("mm", 1e-3)}.get(unit, ("", 1.0))
    if other and low - (high - low) <= raw * factor <= high + (high - low):
        return f"it fits as {other}: write `unit: {other}` for the joints of the contract"
    return "write the unit that the driver publishes, or name the contract of this robot"
