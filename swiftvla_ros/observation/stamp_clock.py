# SPDX-License-Identifier: Apache-2.0
"""Which time a message belongs to when its stamp is zero or comes from another clock."""

from __future__ import annotations

from collections import deque

from swiftvla_ros.contract.clock_offset import FUTURE_TOLERANCE_S, SYNCHRONISE, off_this_clock

_NS = 1_000_000_000
# Nothing comes before it was stamped, so a stamp that lies ahead is of another clock.
_AHEAD_NS = round(FUTURE_TOLERANCE_S * _NS)
# Nothing is on its way for so long: a driver that stamps with its uptime, or a bag played without sim time.
_FOREIGN_CLOCK_NS = 10 * _NS
# What was on its way longer looks less far ahead than the clock is, so the clock is judged by the earliest of so many.
_JUDGED = 100


class StampClock:
    """Decides whether a topic's stamps can be used, and says so once.

    Of another clock, without a doubt, are stamps ahead of this one, and a first one that is far behind. In between, a
    message may be as old as its stamp says, and is taken to be: nothing makes an old picture fresh. For the same
    reason, what begins well and grows old is old, however far behind: a camera that freezes is not a foreign one. The
    other way is open: stamps near the present are no accident, so a topic that misled is trusted from its first good
    one on, where it was far off, and otherwise when the last hundred were good.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._last: tuple[int, int] | None = None
        self._told: set[str] = set()
        self.warning = ""
        self.clear()

    def resolve(self, stamp_ns: int, received_ns: int) -> int:
        """Time of a message on the receiver's clock, ns; sets :attr:`warning` when that is the time of receipt."""
        if stamp_ns == 0:
            self._warn("unstamped", "is not stamped; let its driver stamp it")
            return received_ns
        # The same foreign stamp again is the same moment again, however late it arrives.
        if self._last is not None and self._last[0] == stamp_ns:
            return self._last[1]
        self._judge(stamp_ns - received_ns)
        if not self._foreign:
            self._last = None
            return stamp_ns
        self._last = (stamp_ns, received_ns)
        return received_ns

    def clear(self) -> None:
        """Decide anew, as after a clock jump."""
        self._foreign = False
        self._offsets: deque[int] = deque(maxlen=_JUDGED)
        self._last = None

    def take_warning(self) -> str:
        """The warning, the first time that it is asked for; empty otherwise."""
        text, self.warning = self.warning, ""
        return text

    def _judge(self, offset_ns: int) -> None:
        first = not self._offsets
        if self._foreign and abs(self._offsets[-1]) > _FOREIGN_CLOCK_NS >= abs(offset_ns):
            # The stamps before were of another time, not of another clock: they were on their way while the clock
            # jumped, or came before the first /clock.
            self.clear()
        self._offsets.append(offset_ns)
        ahead = max(self._offsets) > _AHEAD_NS
        far_behind = offset_ns < -_FOREIGN_CLOCK_NS and (first or self._foreign)
        if self._foreign and not (ahead or far_behind):
            # Well again; should it come again, it is told again.
            self._told.discard("foreign")
        self._foreign = ahead or far_behind
        if self._foreign:
            self._warn("foreign", f"is {off_this_clock(offset_ns / _NS)}; {SYNCHRONISE}")

    def _warn(self, kind: str, what: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self.warning = (
                f"topic {self._topic} {what}; until then its time of receipt is used, so latency is underestimated"
            )
