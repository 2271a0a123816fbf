# SPDX-License-Identifier: Apache-2.0
"""Which time a message belongs to when its stamp is zero or comes from another clock."""

from __future__ import annotations

_NS = 1_000_000_000
# A driver on the same clock is milliseconds off, a badly synchronised machine perhaps a second; a driver that stamps
# with its uptime, or a bag played without sim time, is off by hours. Ten seconds tells the two apart.
_FOREIGN_CLOCK_NS = 10 * _NS


class StampClock:
    """Decides once, from a topic's first message, whether its stamps can be used, and says so once.

    Deciding once matters: a camera that freezes on an old stamp later must look old, not foreign. The other way is
    open: a stamp near the present is no accident, so a topic whose first message misled is trusted from its first good
    one on.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._foreign: bool | None = None
        self._last: tuple[int, int] | None = None
        self.warning = ""

    def resolve(self, stamp_ns: int, received_ns: int) -> int:
        """Time of a message on the receiver's clock, ns; sets :attr:`warning` when that is the time of receipt."""
        if stamp_ns == 0:
            self._warn("is not stamped")
            return received_ns
        if self._foreign is None:
            offset_s = (stamp_ns - received_ns) / _NS
            self._foreign = abs(stamp_ns - received_ns) > _FOREIGN_CLOCK_NS
            if self._foreign:
                self._warn(f"is stamped {abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} this clock")
        elif self._foreign and abs(stamp_ns - received_ns) <= _FOREIGN_CLOCK_NS:
            # The first message was of another time, not of another clock: it was on its way while the clock jumped, or
            # came before the first /clock.
            self._foreign = False
        if not self._foreign:
            return stamp_ns
        # The same foreign stamp again is the same moment again, however late it arrives.
        if self._last is None or self._last[0] != stamp_ns:
            self._last = (stamp_ns, received_ns)
        return self._last[1]

    def clear(self) -> None:
        """Decide anew, as after a clock jump."""
        self._foreign = None
        self._last = None

    def take_warning(self) -> str:
        """The warning, the first time that it is asked for; empty otherwise."""
        text, self.warning = self.warning, ""
        return text

    def _warn(self, what: str) -> None:
        if self._topic:
            self.warning = f"topic {self._topic} {what}; its time of receipt is used, so latency is underestimated"
            self._topic = ""
