# SPDX-License-Identifier: Apache-2.0
"""Which joint states can be believed: one that the velocity limits can't explain is another's, or a glitch."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract

Array = NDArray[np.float64]
_NS = 1_000_000_000

SETTLE_STATES = 5
"""So many states in a row have to agree before the first is believed, or another place after one that was refused."""

SETTLE_S = 0.2
"""They span at least so long."""

SEVERAL_SETTLE_S = 1.0
"""The same while the topic has several publishers, which may begin one after the other."""

# Limits are those of commands: a joint overshoots, and a hand moves faster. What is left is far below any jump.
_MARGIN = 2.0
# Noise, and what a driver rounds: of the joint's range, and at most (rad or m).
_RANGE_SHARE, _MOST_TOLERANCE = 0.1, 0.05
# Drivers that stamp at 1 kHz may read their motors at 30 Hz.
_READ_PERIOD_NS = 30_000_000
# The usual time between two states is the median of so many.
_PERIODS = 9
_USUAL_PERIODS = 3
# So often within a second that states are refused between good ones, and none is believed.
_MOST_GLITCHES = 3
_GLITCHES_NS = _NS
# A state that goes back from one so far ahead of the clock is of another time: the clock went back.
_FUTURE_NS = 500_000_000


@dataclass
class _Place:
    """States in a row that agree with each other: the first, the last, and how many."""

    first: Array
    first_ns: int
    last: Array
    last_ns: int
    count: int = 1


class StateCheck:
    """Takes states in the order in which they come, and believes those that follow from one another.

    A state that no motion inside ``_MARGIN`` times the velocity limits leads to is refused and named. Where the arm
    stands elsewhere for good (moved by hand while it was off, a simulator's reset), the new place is believed after
    ``SETTLE_STATES`` in a row, but only while nothing is being commanded. Times are ns, positions [J] in SI.

    Attributes
    ----------
    refused
        How many were refused.
    last_refusal
        What was said to the last of them: the joint, from where, to where.
    """

    def __init__(self, contract: Contract) -> None:
        limits = contract.limits
        self._names = contract.joint_names
        self._units = ["m/s" if joint.unit in ("m", "mm") else "rad/s" for joint in contract.joints]
        self._velocity = limits.max_velocity
        self._tolerance = np.minimum(_RANGE_SHARE * (limits.max_position - limits.min_position), _MOST_TOLERANCE)
        # Angles of a joint that turns without end, and has no limits, are wrapped by its driver.
        self._endless = np.isinf(limits.max_position)
        self._any_endless = bool(self._endless.any())
        self._longest_ns = round(contract.policy.max_state_age_s * _NS)
        self.refused = 0
        self.last_refusal = ""
        self.clear()

    def clear(self) -> None:
        """Forget all states, as after a clock jump: the next ones have to agree with each other."""
        self._believed: tuple[Array, int] | None = None
        self._elsewhere: _Place | None = None
        self._heard_ns: int | None = None
        self._periods_ns: deque[int] = deque(maxlen=_PERIODS)
        self._glitches_ns: deque[int] = deque(maxlen=_MOST_GLITCHES)
        self._commanding = False

    @property
    def settled(self) -> bool:
        """Whether a first place is believed."""
        return self._believed is not None

    @property
    def newest_ns(self) -> int:
        """What comes has to be newer than this."""
        return self._believed[1] if self._believed is not None else self._heard_ns or 0

    @property
    def problem(self) -> str:
        """Why no state is believed at present; empty where single ones are refused at most."""
        if len(self._glitches_ns) == _MOST_GLITCHES:
            return f"joint states contradict each other: {self.last_refusal}"
        place = self._elsewhere
        if place is not None and self._believed is not None and self._commanding and place.count >= SETTLE_STATES:
            return self.last_refusal
        return ""

    def take(
        self, positions: Array, stamp_ns: int, now_ns: int, *, commanding: bool = False, settle_s: float = SETTLE_S
    ) -> bool:
        """Whether a state is to be believed. One that is no newer than the last believed is not, and is no event.

        ``settle_s`` is how long a new place has to be told.
        """
        self._commanding = commanding
        if stamp_ns <= self.newest_ns:
            if self.newest_ns <= now_ns + _FUTURE_NS:
                return False
            self.clear()
        if self._heard_ns is not None and stamp_ns > self._heard_ns:
            self._periods_ns.append(stamp_ns - self._heard_ns)
        self._heard_ns = stamp_ns
        while self._glitches_ns and stamp_ns - self._glitches_ns[0] > _GLITCHES_NS:
            self._glitches_ns.popleft()
        if self._believed is not None and not self._unexplained(*self._believed, positions, stamp_ns, self._usual_ns()):
            self._believe(positions, stamp_ns)
        elif not self._has_settled(positions, stamp_ns, settle_s):
            return False
        return len(self._glitches_ns) < _MOST_GLITCHES

    def _believe(self, positions: Array, stamp_ns: int) -> None:
        if self._elsewhere is not None and self._believed is not None:
            self._glitches_ns.append(stamp_ns)
        self._believed, self._elsewhere = (positions, stamp_ns), None

    def _has_settled(self, positions: Array, stamp_ns: int, settle_s: float) -> bool:
        """Whether the states that don't follow from the believed one agree for long enough to be believed instead."""
        place, usual_ns = self._elsewhere, self._usual_ns()
        if self._believed is not None:
            self._refuse(self._unexplained(*self._believed, positions, stamp_ns, usual_ns))
        wrong = place is not None and self._unexplained(place.last, place.last_ns, positions, stamp_ns, usual_ns)
        if place is None or wrong:
            if wrong and self._believed is None:
                self._refuse(wrong)
                self._glitches_ns.append(stamp_ns)
            self._elsewhere = _Place(positions, stamp_ns, positions, stamp_ns)
            return False
        place.last, place.last_ns, place.count = positions, stamp_ns, place.count + 1
        if place.count < SETTLE_STATES:
            return False
        # A gap in the states, in which the arm went on: the first after it is where it can have come to.
        came = self._believed is not None and not self._unexplained(
            *self._believed, place.first, place.first_ns, self._longest_ns, margin=1.0
        )
        stands = not (self._commanding and self._believed is not None) and stamp_ns - place.first_ns >= settle_s * _NS
        if not (came or stands):
            return False
        self._believed, self._elsewhere = (positions, stamp_ns), None
        return True

    def _usual_ns(self) -> int:
        """The longest time between two states of which nothing is missing."""
        periods_ns = sorted(self._periods_ns)
        usual_ns = _USUAL_PERIODS * periods_ns[len(periods_ns) // 2] if periods_ns else 0
        return min(max(usual_ns, _READ_PERIOD_NS), max(self._longest_ns, _READ_PERIOD_NS))

    def _unexplained(
        self, start: Array, start_ns: int, end: Array, end_ns: int, most_ns: int, margin: float = _MARGIN
    ) -> str:
        """Which joint can't have come so far, from where to where; empty where all can."""
        passed_ns = min(max(end_ns - start_ns, _READ_PERIOD_NS), most_ns)
        allowed = self._tolerance + margin * self._velocity * (passed_ns / _NS)
        step = end - start
        if self._any_endless:
            step = np.where(self._endless, (step + np.pi) % (2 * np.pi) - np.pi, step)
        excess = np.abs(step) - allowed
        if excess.max() <= 0.0:
            return ""
        j = int(np.argmax(excess / allowed))
        return (
            f"joint '{self._names[j]}' went from {start[j]:.3f} to {end[j]:.3f} in {(end_ns - start_ns) / _NS:.3f} s, "
            f"which its velocity limit of {self._velocity[j]:g} {self._units[j]} can't explain"
        )

    def _refuse(self, text: str) -> None:
        self.refused += 1
        self.last_refusal = text
