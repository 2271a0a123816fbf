# SPDX-License-Identifier: Apache-2.0
"""What ends a node's process: a signal, and that it stood still for longer than the others of the graph remember it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from swiftvla_ros.contract.exit_codes import EXIT_STOOD_STILL
from swiftvla_ros.preflight.transport import Transport

WIND_DOWN_S = 2.0
"""Longest wait for the node to come to rest when the process is told to end."""
LEAVE_GRAPH_S = 4.0
"""Longest time to leave the graph; usually it takes some tenths of a second."""
# The watch wakes this often: what it finds is that much longer than the standstill at most.
_LOOK_S = 0.25
# Who computed for so much of the time did not stand still: Python's lock was held, and DDS's own threads went on.
_BUSY_SHARE = 0.1


class Ending:
    """What SIGINT and SIGTERM do: end the process at once while it loads, later only set ``asked``."""

    def __init__(self) -> None:
        self.asked = False
        self.at_once = True
        self.status = 0
        self._wake: Callable[[], object] = lambda: None
        self._sockets = socket.socketpair()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def wakes(self, wake: Callable[[], object]) -> None:
        """Have ``wake`` called once the process is to end.

        Python runs a signal's handler between two steps of the main thread, which may wait in the middleware for ever:
        a thread hears of the signal through a socket and wakes it.
        """
        self._wake = wake
        told, tells = self._sockets
        tells.setblocking(False)
        signal.set_wakeup_fd(tells.fileno())

        def watch() -> None:
            told.recv(1)
            wake()

        threading.Thread(target=watch, name="signals", daemon=True).start()

    def forgotten(self, text: str) -> None:
        """What the standstill watch calls, from its thread: end in order, and at once where that takes too long."""
        print(text, file=sys.stderr, flush=True)
        self.status, self.asked = EXIT_STOOD_STILL, True
        self._wake()
        time.sleep(WIND_DOWN_S + LEAVE_GRAPH_S)
        os._exit(EXIT_STOOD_STILL)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        # Ctrl-C in a terminal reaches every process of the group, and then again through launch: once is enough, and
        # a second one while the interpreter ends would make the exit status a failure.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        self.asked = True
        if self.at_once:
            raise SystemExit(0)


class StandstillWatch:
    """Calls ``forgotten`` with a sentence, once, from a thread of its own.

    A process that was stopped (SIGSTOP, a debugger, a paused container, a suspended laptop) for longer than its lease
    has been dropped by the others, and Fast DDS may not find back for many minutes (docs/faults.md). Starting it anew
    takes seconds. ``excused`` is asked whether Python may have been held up for so long until now, as by a library that
    loads from a slow disk: DDS's own threads go on then.
    """

    def __init__(
        self,
        transport: Transport,
        forgotten: Callable[[str], object],
        excused: Callable[[float], bool] = lambda _passed_s: False,
    ) -> None:
        profile = transport.profile
        if profile.lease_s is None:
            return
        # The others count from the last announcement that they got.
        patience_s = max(profile.lease_s - profile.announcement_s, profile.lease_s / 2)
        # Suspended together, nobody forgets anybody; a suspended machine is forgotten by the others.
        clock = time.CLOCK_MONOTONIC if transport.local else getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

        def watch() -> None:
            seen_s, busy_s = time.clock_gettime(clock), time.process_time()
            while True:
                slept_s = time.monotonic()
                time.sleep(_LOOK_S)
                now_s, now_busy_s = time.clock_gettime(clock), time.process_time()
                passed_s = now_s - seen_s
                if stood_still(passed_s, now_busy_s - busy_s, patience_s) and not excused(time.monotonic() - slept_s):
                    forgotten(
                        f"this process stood still for {passed_s:.1f} s, longer than its DDS lease of "
                        f"{profile.lease_s:g} s allows: the others have dropped it, so it ends, to be started anew"
                    )
                    return
                seen_s, busy_s = now_s, now_busy_s

        threading.Thread(target=watch, name="standstill", daemon=True).start()


def stood_still(passed_s: float, busy_s: float, patience_s: float) -> bool:
    """Whether a process that computed for ``busy_s`` of the time that passed between two looks stood still."""
    return passed_s > patience_s and busy_s < _BUSY_SHARE * passed_s
