# SPDX-License-Identifier: Apache-2.0
"""Who holds the controls: one page at a time, until it gives them away or is gone."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

# A page answers ten times a second. Without an answer for so long nobody is believed to sit there …
ANSWERS_S = 1.0
# … and after so long somebody else may take the controls.
GONE_S = 3.0
# Pages that are remembered after they left, so that one whose network failed comes back as who it was.
_MOST_PAGES = 64


@dataclass
class _Page:
    name: str
    connected: bool
    answered_s: float
    asks: bool = False


class Controls:
    """Pages by the secret key that each was given; every method may be called from any thread."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s, self._lock = clock_s, Lock()
        self._pages: dict[str, _Page] = {}
        self._holder = ""
        self._count = 0

    def join(self, key: str, where: str) -> tuple[str, str]:
        """Let a page in, by the key that it had, or a new one; returns key and name.

        A duplicated tab brings the key of the other one, which is still there: it gets its own.
        """
        with self._lock:
            page = self._pages.get(key)
            if page is None or page.connected:
                key = secrets.token_urlsafe(16)
                self._count += 1
                page = self._pages[key] = _Page(f"operator {self._count} ({where})", True, self._clock_s())
                self._forget()
            page.connected, page.answered_s = True, self._clock_s()
            return key, page.name

    def leave(self, key: str) -> None:
        """Note that a page's connection has ended."""
        with self._lock:
            self._pages[key].connected = self._pages[key].asks = False

    def answered(self, key: str) -> None:
        """Note that a page has answered now."""
        with self._lock:
            self._pages[key].answered_s = self._clock_s()

    def holds(self, key: str) -> bool:
        """Whether this page has the controls."""
        with self._lock:
            return bool(key) and key == self._holder

    def take(self, key: str) -> tuple[bool, str]:
        """Give a page the controls, where nobody has them or who had them is gone; else note that it asks."""
        with self._lock:
            page = self._pages[key]
            if self._holder not in ("", key) and not self._is_gone(self._holder):
                page.asks = True
                return False, f"{self._pages[self._holder].name} holds the controls, and was asked for them"
            self._hand_over(key)
            return True, "you hold the controls"

    def give(self, key: str) -> tuple[bool, str]:
        """Take the controls from the page that holds them: for who asked first, or for nobody."""
        with self._lock:
            if key != self._holder:
                return False, "you don't hold the controls"
            asking = next((other for other, page in self._pages.items() if page.asks and page.connected), "")
            self._hand_over(asking)
            return True, f"{self._pages[asking].name} holds the controls" if asking else "nobody holds the controls"

    def answering(self) -> str:
        """The name of who holds the controls and has answered within a second; empty without."""
        with self._lock:
            page = self._pages.get(self._holder)
            present = page is not None and self._clock_s() - page.answered_s < ANSWERS_S
            return page.name if page is not None and present else ""

    def told(self, key: str) -> dict[str, object]:
        """What a page shows of it."""
        with self._lock:
            holder = self._pages.get(self._holder)
            return {
                "name": self._pages[key].name,
                "holds": key == self._holder,
                "holder": holder.name if holder else "",
                "gone": holder is not None and self._is_gone(self._holder),
                "asking": [page.name for page in self._pages.values() if page.asks],
                "pages": sum(page.connected for page in self._pages.values()),
            }

    def _hand_over(self, key: str) -> None:
        self._holder = key
        for page in self._pages.values():
            page.asks = page.asks and page is not self._pages.get(key)

    def _is_gone(self, key: str) -> bool:
        return self._clock_s() - self._pages[key].answered_s > GONE_S

    def _forget(self) -> None:
        gone = [key for key, page in self._pages.items() if not page.connected and key != self._holder]
        for key in gone[: max(0, len(self._pages) - _MOST_PAGES)]:
            del self._pages[key]
