# SPDX-License-Identifier: Apache-2.0
"""A camera that hangs on one picture, told from a still scene: while the arm moves, pictures change."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract

Array = NDArray[np.float64]

_NS = 1_000_000_000
# What a camera that looks at the arm has to see: 3°, and a centimetre for sliding joints.
_SEEN_RAD, _SEEN_M = 0.05, 0.01


class RepeatedPicture:
    """Judges whether a picture that comes again and again, byte for byte, with fresh stamps is a frozen camera's.

    No sensor's noise gives the same bytes twice, but a renderer does while nothing moves in its scene. So a repeated
    picture is refused once the arm has moved since it first came, ``longest_s`` ago or more, and from then on until
    another one comes: an arm that was stopped by this must not make the picture look right again. Once ``repeats`` is
    set, some picture has come twice, and :meth:`measured` is needed.
    """

    def __init__(self, contract: Contract, longest_s: float) -> None:
        self._longest_ns = round(longest_s * _NS)
        self._seen = np.array([_SEEN_M if joint.unit in ("m", "mm") else _SEEN_RAD for joint in contract.joints])
        self._pose: Array | None = None
        self.repeats = False
        self.clear()

    def clear(self) -> None:
        """Begin anew, as after a clock jump."""
        self._digest: int | None = None
        self._begin_ns = 0
        self._from: Array | None = None
        self._moved = self._frozen = False

    def measured(self, position: Array) -> None:
        """Take note of where the arm is [J], rad or m."""
        self._pose = position
        if self._from is None:
            self._from = position
        self._moved = self._moved or bool((np.abs(position - self._from) > self._seen).any())

    def frozen_s(self, data: bytes, now_ns: int) -> float:
        """For how long a picture has come that is not to be believed; 0 where nothing is wrong with it."""
        digest = zlib.crc32(data)
        if digest != self._digest:
            self.clear()
            self._digest, self._begin_ns, self._from = digest, now_ns, self._pose
        else:
            self.repeats = True
        repeated_ns = now_ns - self._begin_ns
        self._frozen = self._frozen or (self._moved and repeated_ns > self._longest_ns)
        return repeated_ns / _NS if self._frozen else 0.0
