# SPDX-License-Identifier: Apache-2.0
"""Instructions that were followed, from whomever they came, and when each took effect."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

_MOST = 30


class InstructionHistory:
    """The newest instructions by their number; times in s on the ROS clock."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, dict[str, Any]] = OrderedDict()
        # A policy that was started again begins to count anew.
        self._newest = 0

    def following(self, number: int, text: str, now_s: float) -> None:
        """Take note of what the policy says that it follows."""
        if number == 0 or (number == self._newest and self._known[number]["text"] == text):
            return
        self._known.pop(number, None)
        self._entry(number, text)["seen"] = now_s
        self._newest = number

    def effect(self, message: Any, accepted_s: float, command_s: float) -> None:
        """Take note of an ``InstructionEffect``."""
        number = int(message.instruction_id)
        known = self._known.get(number)
        entry = known if known and known["text"] == message.instruction else self._entry(number, message.instruction)
        matters = float(message.words_matter)
        entry.update(
            accepted=accepted_s,
            effect=command_s,
            after=command_s - accepted_s,
            words_matter=matters if math.isfinite(matters) else None,
            effect_text=message.text,
        )

    def section(self) -> list[dict[str, Any]]:
        """The newest first."""
        return list(reversed(self._known.values()))

    def _entry(self, number: int, text: str) -> dict[str, Any]:
        entry = self._known[number] = {"id": number, "text": text}
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return entry
