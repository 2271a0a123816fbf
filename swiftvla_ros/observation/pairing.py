# SPDX-License-Identifier: Apache-2.0
"""Which images and which joint state make one observation: paired by stamp, never stale, never twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NS = 1_000_000_000
# Frames kept per camera: enough that a slow camera's newest frame still finds its partner of a camera ten times faster.
_IMAGE_HISTORY = 16
# States kept: one second of joint states at 200 Hz.
_STATE_HISTORY = 200


class PairingStatus(Enum):
    """Why there is an observation, or why there is none."""

    READY = auto()
    NOTHING_NEW = auto()
    MISSING = auto()
    STALE = auto()
    UNPAIRED = auto()


@dataclass(frozen=True)
class PairedObservation:
    """Images per camera and joint positions [J] that belong to one moment: ``stamp_ns``, that of the oldest image.

    ``ready_ns`` is when the last part had been received.
    """

    stamp_ns: int
    images: dict[str, NDArray[np.uint8]]
    image_stamps_ns: dict[str, int]
    state: NDArray[np.float64]
    state_stamp_ns: int
    ready_ns: int


@dataclass(frozen=True)
class Pairing:
    """Result of :meth:`ObservationPairing.pair`: an observation only where ``status`` is READY, else the reason.

    ``anchor_ns`` is the stamp that was judged; None when something was missing.
    """

    status: PairingStatus
    reason: str = ""
    observation: PairedObservation | None = None
    anchor_ns: int | None = None


@dataclass(frozen=True)
class _Part:
    stamp_ns: int
    received_ns: int
    value: Any


class ObservationPairing:
    """Short histories of every camera and of the state, and the newest set of them that belongs together.

    The anchor is the newest frame of the camera that lags most; every other camera, and the state, gives the part
    whose stamp lies nearest to it. So the newest frame wins, and a fast camera never outruns a slow one.
    Not locked: the caller serialises access. All times are integer nanoseconds of one clock, given by the caller.

    No part is further than ``slop_s`` from the anchor; beyond its age a camera, or the joint state, counts as stopped.
    """

    def __init__(
        self, camera_names: Sequence[str], *, slop_s: float, max_image_age_s: float, max_state_age_s: float
    ) -> None:
        self._slop_ns = round(slop_s * _NS)
        self._max_image_age_ns = round(max_image_age_s * _NS)
        self._max_state_age_ns = round(max_state_age_s * _NS)
        self._images: dict[str, deque[_Part]] = {name: deque(maxlen=_IMAGE_HISTORY) for name in camera_names}
        self._states: deque[_Part] = deque(maxlen=_STATE_HISTORY)

    def add_image(self, camera: str, stamp_ns: int, image: NDArray[np.uint8], received_ns: int) -> bool:
        """Remember a frame; False when it is not newer than the camera's last one (a frozen or reordering driver)."""
        return self._append(self._images[camera], _Part(stamp_ns, received_ns, image))

    def add_state(self, stamp_ns: int, state: NDArray[np.float64], received_ns: int) -> bool:
        """Remember a state [J]; False when it is not newer than the last one."""
        return self._append(self._states, _Part(stamp_ns, received_ns, state))

    def _append(self, parts: deque[_Part], part: _Part) -> bool:
        # A message that was on its way while the clock went back is of a time that has yet to come: it must not make
        # all that follow look old until then.
        while parts and parts[-1].stamp_ns > max(part.stamp_ns, part.received_ns + self._slop_ns):
            parts.pop()
        if parts and part.stamp_ns <= parts[-1].stamp_ns:
            return False
        parts.append(part)
        return True

    def clear(self) -> None:
        """Forget everything, as after a clock jump."""
        for frames in self._images.values():
            frames.clear()
        self._states.clear()

    def pair(self, now_ns: int, newer_than_ns: int | None = None) -> Pairing:
        """Find the newest observation; one as old as ``newer_than_ns``, the last one used, is NOTHING_NEW."""
        for name, frames in self._images.items():
            if not frames:
                return Pairing(PairingStatus.MISSING, f"waiting for the first image of camera '{name}'")
        if not self._states:
            return Pairing(PairingStatus.MISSING, "waiting for the first joint state")
        anchor_ns = min(frames[-1].stamp_ns for frames in self._images.values())
        for name, frames in self._images.items():
            age_ns = now_ns - frames[-1].stamp_ns
            if age_ns > self._max_image_age_ns:
                return Pairing(
                    PairingStatus.STALE, _too_old(f"camera '{name}'", age_ns, self._max_image_age_ns), None, anchor_ns
                )
        age_ns = now_ns - self._states[-1].stamp_ns
        if age_ns > self._max_state_age_ns:
            return Pairing(
                PairingStatus.STALE, _too_old("the joint state", age_ns, self._max_state_age_ns), None, anchor_ns
            )
        if anchor_ns - now_ns > self._slop_ns:
            ahead_s = (anchor_ns - now_ns) / _NS
            text = f"the newest images are stamped {ahead_s:.3f} s in the future; check the camera driver's clock"
            return Pairing(PairingStatus.UNPAIRED, text, None, anchor_ns)
        if newer_than_ns is not None and anchor_ns <= newer_than_ns:
            return Pairing(PairingStatus.NOTHING_NEW, "", None, anchor_ns)
        images = {name: _nearest(frames, anchor_ns) for name, frames in self._images.items()}
        state = _nearest(self._states, anchor_ns)
        for what, part in [*((f"camera '{n}'", p) for n, p in images.items()), ("the joint state", state)]:
            gap_ns = abs(part.stamp_ns - anchor_ns)
            if gap_ns > self._slop_ns:
                text = (
                    f"{what} is {gap_ns / _NS:.3f} s away from the images it belongs to, "
                    f"more than the contract's policy.pair_slop_s of {self._slop_ns / _NS:.3f} s"
                )
                return Pairing(PairingStatus.UNPAIRED, text, None, anchor_ns)
        observation = PairedObservation(
            stamp_ns=anchor_ns,
            images={name: part.value for name, part in images.items()},
            image_stamps_ns={name: part.stamp_ns for name, part in images.items()},
            state=state.value,
            state_stamp_ns=state.stamp_ns,
            ready_ns=max(part.received_ns for part in [*images.values(), state]),
        )
        return Pairing(PairingStatus.READY, "", observation, anchor_ns)


def _nearest(parts: deque[_Part], stamp_ns: int) -> _Part:
    return min(parts, key=lambda part: abs(part.stamp_ns - stamp_ns))


def _too_old(what: str, age_ns: int, limit_ns: int) -> str:
    return f"{what} stopped: its newest stamp is {age_ns / _NS:.2f} s old (limit {limit_ns / _NS:.2f} s)"
