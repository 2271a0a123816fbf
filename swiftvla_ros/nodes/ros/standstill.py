# SPDX-License-Identifier: Apache-2.0
"""Notices that this process stood still for longer than the others of the graph remember it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from swiftvla_ros.nodes.ros.transport import Transport

# The watch wakes this often: what it finds is that much longer than the standstill at most.
_LOOK_S = 0.25
# Who computed for so much of the time did not stand still: Python's lock was held, and DDS's own threads went on.
_BUSY_SHARE = 0.1


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
