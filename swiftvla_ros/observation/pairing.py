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

from swiftvla_ros.contract.clock_offset import SYNCHRONISE, lag_text, off_this_clock

_NS = 1_000_000_000
STATE = "joint_states"
"""Name of the joint states among what is paired."""

# Frames kept per camera: enough that a slow camera's newest frame still finds its partner of a camera ten times faster.
_IMAGE_HISTORY = 16
# States kept: one second of joint states at 200 Hz.
_STATE_HISTORY = 200
# After so many anchors without an observation it is not one late image that is missing.
_NO_ACCIDENT = 10


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

    ``anchor_ns`` is the stamp that was judged; None when something was missing. ``source`` is the camera that the
    reason speaks of, or ``STATE``; empty where it is of all.
    """

    status: PairingStatus
    reason: str = ""
    observation: PairedObservation | None = None
    anchor_ns: int | None = None
    source: str = ""


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
        # Of the anchors since the last observation: how many there were, the last one, and the smallest gap.
        self._tries = self._closest_ns = 0
        self._tried_ns: int | None = None

    def add_image(self, camera: str, stamp_ns: int, image: NDArray[np.uint8], received_ns: int) -> bool:
        """Remember a frame; False when it is not newer than the camera's last one (a frozen or reordering driver)."""
        return self._append(self._images[camera], _Part(stamp_ns, received_ns, image))

    def add_state(self, stamp_ns: int, state: NDArray[np.float64], received_ns: int) -> bool:
        """Remember a state [J]; False when it is not newer than the last one."""
        return self._append(self._states, _Part(stamp_ns, received_ns, state))

    def forget_image(self, camera: str, stamp_ns: int) -> None:
        """Do without a frame, which turned out to be damaged."""
        frames = self._images[camera]
        self._images[camera] = deque((each for each in frames if each.stamp_ns != stamp_ns), maxlen=_IMAGE_HISTORY)

    def _append(self, parts: deque[_Part], part: _Part) -> bool:
        # A message that was on its way while the clock went back is of a time that has yet to come: it must not make
        # all that follow look old until then.
        while parts and parts[-1].stamp_ns > max(part.stamp_ns, part.received_ns + self._slop_ns):
            parts.pop()
        if parts and part.stamp_ns <= parts[-1].stamp_ns:
            return False
        parts.append(part)
        return True

    def _apart(self, what: str, gap_ns: int, anchor_ns: int) -> str:
        """Tell of a gap, and once it is no accident how near the parts ever came, and what to write."""
        if anchor_ns != self._tried_ns:
            self._tried_ns, self._tries = anchor_ns, self._tries + 1
        self._closest_ns = min(self._closest_ns or gap_ns, gap_ns)
        slop = f"the contract's policy.pair_slop_s of {self._slop_ns / _NS:.3f} s"
        text = f"{what} is {gap_ns / _NS:.3f} s away from the images it belongs to, more than {slop}"
        if self._tries < _NO_ACCIDENT:
            return text
        return (
            f"{text}; of the last {self._tries} observations none came nearer than {self._closest_ns / _NS:.3f} s: "
            "trigger the cameras together, let them run faster, or write a pair_slop_s above that"
        )

    def clear(self) -> None:
        """Forget everything, as after a clock jump."""
        for frames in self._images.values():
            frames.clear()
        self._states.clear()

    def lone_images(self, newer_than_ns: int | None = None) -> dict[str, NDArray[np.uint8]]:
        """Newest frames that are newer than the last used observation, of the cameras that have one by now."""
        newest = {name: frames[-1] for name, frames in self._images.items() if frames}
        return {n: part.value for n, part in newest.items() if newer_than_ns is None or part.stamp_ns > newer_than_ns}

    def pair(self, now_ns: int, newer_than_ns: int | None = None) -> Pairing:
        """Find the newest observation; one as old as ``newer_than_ns``, the last one used, is NOTHING_NEW."""
        for name, frames in self._images.items():
            if not frames:
                return Pairing(PairingStatus.MISSING, f"waiting for the first image of camera '{name}'", source=name)
        if not self._states:
            return Pairing(PairingStatus.MISSING, "waiting for the first joint state", source=STATE)
        anchor_ns = min(frames[-1].stamp_ns for frames in self._images.values())
        for name, frames in self._images.items():
            if problem := _too_old(f"camera '{name}'", frames, now_ns, self._max_image_age_ns):
                return Pairing(PairingStatus.STALE, problem, None, anchor_ns, name)
        if problem := _too_old("the joint state", self._states, now_ns, self._max_state_age_ns):
            return Pairing(PairingStatus.STALE, problem, None, anchor_ns, STATE)
        if anchor_ns - now_ns > self._slop_ns:
            text = f"the newest images are {off_this_clock((anchor_ns - now_ns) / _NS)}; {SYNCHRONISE}"
            return Pairing(PairingStatus.UNPAIRED, text, None, anchor_ns)
        if newer_than_ns is not None and anchor_ns <= newer_than_ns:
            return Pairing(PairingStatus.NOTHING_NEW, "", None, anchor_ns)
        images = {name: _nearest(frames, anchor_ns) for name, frames in self._images.items()}
        state = _nearest(self._states, anchor_ns)
        gaps_ns = {name: abs(part.stamp_ns - anchor_ns) for name, part in (*images.items(), (STATE, state))}
        source, gap_ns = max(gaps_ns.items(), key=lambda each: each[1])
        if gap_ns > self._slop_ns:
            what = "the joint state" if source == STATE else f"camera '{source}'"
            return Pairing(PairingStatus.UNPAIRED, self._apart(what, gap_ns, anchor_ns), None, anchor_ns, source)
        self._closest_ns = self._tries = 0
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


def _too_old(what: str, parts: deque[_Part], now_ns: int, limit_ns: int) -> str:
    """Why the newest part is no longer fresh; empty where it is."""
    newest = parts[-1]
    age_ns, lag_ns = now_ns - newest.stamp_ns, newest.received_ns - newest.stamp_ns
    if age_ns <= limit_ns:
        return ""
    if lag_ns > limit_ns >= now_ns - newest.received_ns:
        lags_s = [lag / _NS for part in parts if (lag := part.received_ns - part.stamp_ns) > limit_ns]
        return f"{what} is {lag_text(min(lags_s), max(lags_s))} (limit {limit_ns / _NS:.2f} s)"
    return f"{what} stopped: its newest stamp is {age_ns / _NS:.2f} s old (limit {limit_ns / _NS:.2f} s)"
