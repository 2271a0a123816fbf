# SPDX-License-Identifier: Apache-2.0
"""A jog: wanted joint speeds, which hold for a moment only, integrated inside limits from where the arm is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.teleop.hand import OperatorRows

Array = NDArray[np.float64]

NS = 1_000_000_000

EXPIRES_S = 0.2
"""A jog holds for so long: a hand that lets go, or a link that breaks, stops the arm."""

_SHARE = 0.5  # of the velocity and acceleration limits
_TICK_S = 0.01
_STEP_TICKS = 5
_MOST_TICKS = 400


class Jog:
    """Takes wanted speeds in, and draws rows that end at rest.

    Attributes
    ----------
    refused, last_refusal
        Jogs that were left out, and why the last was.
    rate_hz
        Jogs a second, over the last second or so; 0 while there are none.
    """

    def __init__(self, contract: Contract) -> None:
        self._names, limits = contract.joint_names, contract.limits
        self._low, self._high = limits.min_position, limits.max_position
        self._fastest, self._acceleration = _SHARE * limits.max_velocity, _SHARE * limits.max_acceleration
        joints = len(self._names)
        self._wanted, self._wanted_ns = np.zeros(joints), 0
        self._position, self._velocity, self._now_ns = np.zeros(joints), np.zeros(joints), 0
        self._begun = False
        self.refused = 0
        self.last_refusal = ""
        self.rate_hz = 0.0

    def refuse(self, why: str) -> None:
        """Count a message that is no jog."""
        self.refused, self.last_refusal = self.refused + 1, why

    def take(self, names: Sequence[str], velocities: Sequence[float], now_ns: int) -> bool:
        """Take speeds of some joints in, rad/s or m/s, the others rest; False where they are left out."""
        speeds = np.array(velocities, np.float64)
        unknown = [name for name in names if name not in self._names]
        if unknown or len(set(names)) != len(names):
            self.refuse(f"jog: joints {list(names)} are unknown or repeated; the contract has {list(self._names)}")
        elif speeds.shape != (len(names),) or not np.isfinite(speeds).all():
            self.refuse(f"jog: {list(velocities)} are not finite numbers, one for each of {list(names)}")
        else:
            self._wanted = np.zeros(len(self._names))
            self._wanted[[self._names.index(name) for name in names]] = speeds
            self._wanted = np.clip(self._wanted, -self._fastest, self._fastest)
            since_s = max((now_ns - self._wanted_ns) / NS, 1e-3)
            self.rate_hz = (
                0.0 if since_s > EXPIRES_S else self.rate_hz + min(since_s, 1.0) * (1.0 / since_s - self.rate_hz)
            )
            self._wanted_ns = now_ns
            return True
        return False

    @property
    def position(self) -> Array:
        """Where it has brought the arm [J]."""
        return self._position

    # -- as a hand -----------------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """There is nothing to forget."""

    def problem(self, _now_ns: int) -> str:
        """A jog that is silent rests; nothing is wrong with it."""
        return ""

    def target(self) -> Array | None:
        """It moves the arm from where that is."""
        return None

    def begin(self, pose: Array, now_ns: int) -> None:
        """The arm rests at ``pose`` [J]; a jog from before doesn't move it."""
        self._position, self._velocity, self._now_ns = pose.copy(), np.zeros(len(pose)), now_ns
        self._wanted_ns, self._begun = 0, False

    def rows(self, now_ns: int) -> OperatorRows | None:
        """The motion from now until the jog expires and the arm rests; None while it rests."""
        while self._now_ns + _TICK_S * NS <= now_ns:
            self._position, self._velocity = self._ticked(self._position, self._velocity, self._now_ns)
            self._now_ns += round(_TICK_S * NS)
        moves = bool(self._velocity.any()) or now_ns - self._wanted_ns < EXPIRES_S * NS
        if not moves and not self._begun:
            return None
        self._begun = moves  # once more when it has come to rest: the last rows end there
        position, velocity, ns = self._position, self._velocity, self._now_ns
        rows = [position]
        for k in range(1, _MOST_TICKS):
            position, velocity = self._ticked(position, velocity, ns)
            ns += round(_TICK_S * NS)
            if k % _STEP_TICKS == 0:
                rows.append(position)
                if not velocity.any() and ns - self._wanted_ns > EXPIRES_S * NS and len(rows) > 3:
                    break
        return OperatorRows(self._now_ns, round(_STEP_TICKS * _TICK_S * NS), np.array(rows))

    def _ticked(self, position: Array, velocity: Array, ns: int) -> tuple[Array, Array]:
        """Position and velocity [J] a tick later."""
        wanted = self._wanted if ns - self._wanted_ns < EXPIRES_S * NS else np.zeros_like(velocity)
        # Slow enough to stop before a limit; infinite where there is none.
        up = np.sqrt(2.0 * self._acceleration * np.maximum(self._high - position - np.abs(velocity) * _TICK_S, 0.0))
        down = np.sqrt(2.0 * self._acceleration * np.maximum(position - self._low - np.abs(velocity) * _TICK_S, 0.0))
        wanted = np.clip(wanted, -down, up)
        change = self._acceleration * _TICK_S
        velocity = velocity + np.clip(wanted - velocity, -change, change)
        return np.clip(position + velocity * _TICK_S, self._low, self._high), velocity
