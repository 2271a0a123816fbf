# SPDX-License-Identifier: Apache-2.0
"""Who publishes which joints: two publishers of one joint, in turns, are rivals."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

_NS = 1_000_000_000
# A publisher that comes back to a joint within this was not restarted; and so long rivals are remembered.
_REMEMBERED_NS = 2 * _NS
# More publishers of one joint than this are not told apart.
_MOST_KNOWN = 16
# A message whose number is so much higher than the last one of its publisher is another's.
_MOST_LOST = 1000


class Rivals(NamedTuple):
    """A joint, and two of its publishers."""

    joint: str
    one: Hashable
    other: Hashable


class PublisherWatch:
    """Finds joints that two publishers give in turns. A driver that was started anew takes over once, and is none.

    Publishers of different joints of one topic (an arm's and a gripper's) are no rivals.
    """

    def __init__(self) -> None:
        self._giver: dict[str, Hashable] = {}
        self._left_ns: dict[tuple[str, Hashable], int] = {}
        self._rivals: tuple[Rivals, int] | None = None
        self._numbers: dict[int, int] = {}
        self._next = 0

    def identify(self, gid: bytes | None, number: int | None) -> Hashable:
        """Name the publisher of a message by its id; where there is none by its message ``number``, or not at all.

        rclpy tells the id from Kilted on, the number from Jazzy on, and nothing in Humble. A publisher counts its
        messages, so a number that doesn't follow the last ones is another's.
        """
        if gid is not None or number is None:
            return gid
        below = [(last, key) for key, last in self._numbers.items() if 0 < number - last <= _MOST_LOST]
        if below:
            key = max(below)[1]
            del self._numbers[key]  # to the end: the newest
        else:
            key, self._next = self._next, self._next + 1
        self._numbers[key] = number
        while len(self._numbers) > _MOST_KNOWN:
            del self._numbers[next(iter(self._numbers))]
        return key

    def note(self, publisher: Hashable, joints: Iterable[str], now_ns: int) -> None:
        """Take note of a message; ``publisher`` None where it is not known."""
        if publisher is None:
            return
        for joint in joints:
            before = self._giver.get(joint, publisher)
            self._giver[joint] = publisher
            if before == publisher:
                continue
            left_ns = self._left_ns.get((joint, publisher))
            if left_ns is not None and 0 <= now_ns - left_ns <= _REMEMBERED_NS:
                known = self.rivals(now_ns)
                # The same two are told in the same words for as long as they are there.
                same = known is not None and {known.one, known.other} == {before, publisher}
                self._rivals = (known if known is not None and same else Rivals(joint, before, publisher)), now_ns
            self._left_ns[joint, before] = now_ns
            while len(self._left_ns) > _MOST_KNOWN * len(self._giver):
                del self._left_ns[next(iter(self._left_ns))]

    def rivals(self, now_ns: int) -> Rivals | None:
        """Two publishers of one joint, if there were any lately."""
        if self._rivals is None or not 0 <= now_ns - self._rivals[1] <= _REMEMBERED_NS:
            return None
        return self._rivals[0]
