# SPDX-License-Identifier: Apache-2.0
"""Joint states by name: any order, any share of the joints in a message, one complete state out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# How far ahead of the clock a driver's stamps may be and still be taken for its own.
_FUTURE_NS = 500_000_000


class JointStateError(ValueError):
    """A joint state message that must not be used; the text names the joint and what is wrong."""


@dataclass(frozen=True)
class JointState:
    """All joints: ``positions`` [J] in the order asked for, ``stamp_ns`` of the joint that is oldest."""

    positions: NDArray[np.float64]
    stamp_ns: int


class JointStateMerger:
    """Merges messages that each carry some joints (arm and gripper drivers, say) into complete states.

    Joints that were not asked for are ignored. The merged stamp is the oldest joint's, so a joint that stops arriving
    makes the state stale instead of silently freezing in it.
    """

    def __init__(self, joint_names: Sequence[str]) -> None:
        self._names = tuple(joint_names)
        self._known: dict[str, tuple[float, int]] = {}
        self._last_stamp_ns: int | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Joints that never arrived."""
        return tuple(name for name in self._names if name not in self._known)

    def wanted(self, names: Sequence[str]) -> list[str]:
        """Which of a message's joints were asked for."""
        return [name for name in names if name in self._names]

    def clear(self) -> None:
        """Forget everything, as after a clock jump."""
        self._known.clear()
        self._last_stamp_ns = None

    def update(
        self, names: Sequence[str], positions: Sequence[float], stamp_ns: int, now_ns: int | None = None
    ) -> JointState | None:
        """Take in a message; return the merged state when it is complete and newer than the last one returned.

        With ``now_ns``, a joint known from a time that has yet to come (its message was on its way while the clock went
        back) is replaced by any newer message. Of one that raises JointStateError nothing is kept.
        """
        wanted = self.wanted(names)
        if not wanted:
            return None  # another robot's: whatever it says is no concern of ours
        if len(names) != len(positions):
            raise JointStateError(f"{len(names)} names but {len(positions)} positions; there must be one for each")
        if len(set(wanted)) != len(wanted):
            twice = sorted({name for name in wanted if wanted.count(name) > 1})
            raise JointStateError(f"joint {twice[0]} is named twice")
        ours = {name: float(value) for name, value in zip(names, positions, strict=True) if name in self._names}
        bad = [f"{name} = {value}" for name, value in ours.items() if not math.isfinite(value)]
        if bad:
            raise JointStateError(f"position is not finite: {', '.join(bad)}")
        future_ns = math.inf if now_ns is None else now_ns + _FUTURE_NS
        for name, value in ours.items():
            if name not in self._known or stamp_ns >= self._known[name][1] or self._known[name][1] > future_ns:
                self._known[name] = (value, stamp_ns)
        if self.missing:
            return None
        oldest_ns = min(stamp for _, stamp in self._known.values())
        if self._last_stamp_ns is not None and oldest_ns <= self._last_stamp_ns <= future_ns:
            return None
        self._last_stamp_ns = oldest_ns
        return JointState(np.array([self._known[name][0] for name in self._names]), oldest_ns)
