# SPDX-License-Identifier: Apache-2.0
"""The thread that reads and commands an arm at a steady rate, and reports."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from swiftvla_ros.drivers.feetech.arm import ArmReading, DrivenArm, GoalSource

# The rate that is told is the mean of about so many cycles.
_RATE_CYCLES = 50


class ArmOutputs(Protocol):
    """What the thread calls."""

    def measured(self, reading: ArmReading) -> None:
        """One cycle was read."""

    def told(self, text: str) -> None:
        """Why nothing is followed from now on; empty: all is well again."""

    def failed(self, error: Exception) -> None:
        """The thread ends because of an error."""


class ArmLoop:
    """Cycles at ``rate_hz`` (0: as fast as the bus goes) between :meth:`start` and :meth:`end`.

    Attributes
    ----------
    rate_hz
        How fast it really goes.
    reading
        The newest; None before the first, and while the port is gone.
    """

    def __init__(self, arm: DrivenArm, commands: GoalSource, outputs: ArmOutputs, rate_hz: float) -> None:
        self._arm, self._commands, self._outputs = arm, commands, outputs
        self._period_s = 1.0 / rate_hz if rate_hz else 0.0
        self.rate_hz = 0.0
        self.reading: ArmReading | None = None
        self._text = ""
        # The arm belongs to whoever holds this: the thread during a cycle, or a caller.
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="servo bus", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end(self) -> None:
        """End it; the servos stay as they are."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def resume(self) -> str:
        """:meth:`DrivenArm.resume`, between two cycles."""
        with self._lock:
            return self._arm.resume(self._commands)

    def _run(self) -> None:
        due_s = last_s = time.monotonic()
        while not self._ending.is_set():
            try:
                with self._lock:
                    reading = self._arm.cycle(self._commands)
                    text = self._arm.health.text
                self.reading = reading
                if reading is not None:
                    self._outputs.measured(reading)
                if text != self._text:
                    self._text = text
                    self._outputs.told(text)
            except Exception as error:  # noqa: BLE001  (whatever it is, the node has to hear of it)
                self._outputs.failed(error)
                return
            now_s = time.monotonic()
            period_s, last_s = now_s - last_s, now_s
            self.rate_hz = (
                1.0 / (period_s + (1 / self.rate_hz - period_s) * (1 - 1 / _RATE_CYCLES))
                if self.rate_hz
                else (1.0 / period_s)
            )
            # A late cycle is not made up for: two reads in a row tell nothing new.
            due_s = max(due_s + self._period_s, now_s) if reading is not None else now_s + max(self._period_s, 0.02)
            self._ending.wait(max(0.0, due_s - now_s))
