# SPDX-License-Identifier: Apache-2.0
"""The black box: the last seconds in memory, and what makes them worth a bag."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from swiftvla_ros.contract.executor_codes import Mode, Reason
from swiftvla_ros.episodes.bags.bag import RawMessage

_FAULTS = {
    Reason.CLOCK_JUMP: "the clock jumped",
    Reason.STATE_STALE: "joint states stopped",
    Reason.STATE_INVALID: "a joint state was not finite",
    Reason.TRACKING_ERROR: "the arm does not follow",
    Reason.JOINT_FROZEN: "a joint is frozen",
}
_TAKE_OVERS = {Reason.STOP_REQUESTED: "~/stop was called", Reason.DEACTIVATED: "the executor was deactivated"}


@dataclass(frozen=True)
class Trigger:
    """Why a box is written.

    ``kind`` is ``fault``, ``emergency-stop``, ``take-over`` or ``button``; ``text`` is for people.
    """

    kind: str
    text: str


class Ring:
    """Keeps the newest messages, bounded in time and bytes.

    Parameters
    ----------
    seconds
        Age beyond which messages are let go.
    most_bytes
        Bytes of serialized messages beyond which the oldest are let go, however young.
    latched
        Topics of which the newest message holds until there is a newer one: it is kept whatever its age.
    """

    def __init__(self, seconds: float, most_bytes: int, latched: Collection[str] = ()) -> None:
        self._ns = round(seconds * 1e9)
        self._most = most_bytes
        self.latched = set(latched)
        self._messages: deque[RawMessage] = deque()
        self._held: dict[str, RawMessage] = {}
        self.bytes = 0
        # Let go because of their bytes, before their time.
        self.squeezed = 0

    def add(self, message: RawMessage) -> None:
        """Add a message, and let go what is too old or too much."""
        messages = self._messages
        # A clock that jumped back (a bag looped) leaves messages from the future, which would never grow old.
        while messages and messages[-1].received_ns > message.received_ns + self._ns:
            self.bytes -= len(messages.pop().data)
        messages.append(message)
        self.bytes += len(message.data)
        oldest_ns = message.received_ns - self._ns
        while messages and (messages[0].received_ns < oldest_ns or self.bytes > self._most):
            gone = messages.popleft()
            self.bytes -= len(gone.data)
            self.squeezed += gone.received_ns >= oldest_ns
            if gone.topic in self.latched:
                self._held[gone.topic] = gone

    def messages(self) -> list[RawMessage]:
        """Return what is kept, in the order of reception; first what was latched before."""
        return [*sorted(self._held.values(), key=lambda m: m.received_ns), *self._messages]


class ExecutorWatch:
    """Tells from ``executor_state`` when something happened that a black box is for."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None

    def look(self, mode: int, reason: int, text: str) -> Trigger | None:
        """Take the next mode and reason; return a trigger where they tell of something new.

        The first message tells of nothing new: an arm that was stopped before this process began has no story here.
        """
        last, self._last = self._last, (mode, reason)
        if last is None or last == self._last:
            return None
        if reason == Reason.EMERGENCY_STOP and last[1] != Reason.EMERGENCY_STOP:
            return Trigger("emergency-stop", text or "~/emergency_stop was called")
        if reason in _FAULTS and last[1] != reason:
            return Trigger("fault", text or _FAULTS[Reason(reason)])
        if mode == Mode.STOPPED and last[0] != Mode.STOPPED:
            return Trigger("emergency-stop", text or "the executor is stopped")
        if reason in _TAKE_OVERS and last[1] not in _TAKE_OVERS:
            return Trigger("take-over", text or _TAKE_OVERS[Reason(reason)])
        return None


class Pending:
    """The box that is written ``after_s`` after the first trigger: what triggered it, and what still happens."""

    def __init__(self, after_s: float) -> None:
        self._after_ns = round(after_s * 1e9)
        self._triggers: list[Trigger] = []
        self._due_ns = 0

    def add(self, trigger: Trigger, now_ns: int) -> None:
        """Add a trigger; a box that waits already takes it in."""
        if not self._triggers:
            self._due_ns = now_ns + self._after_ns
        if trigger not in self._triggers:
            self._triggers.append(trigger)

    def take(self, now_ns: int, *, at_once: bool = False) -> list[Trigger]:
        """Return the triggers of the box that is due, and forget them; empty when none is."""
        # A clock that jumped back must not keep the box waiting for it.
        waiting = now_ns < self._due_ns and self._due_ns - now_ns <= self._after_ns
        if not self._triggers or (waiting and not at_once):
            return []
        triggers, self._triggers = self._triggers, []
        return triggers
