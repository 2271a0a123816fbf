# SPDX-License-Identifier: Apache-2.0
"""A call at a fixed rate of the ROS clock, from a thread that does nothing else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from rclpy.clock import ROSClock

_NS = 1_000_000_000
# Nobody knows how fast simulated time goes, so it is looked at this often.
_LOOK_S = 0.001


class ControlLoop:
    """Calls ``tick`` every ``period_s`` from a thread of its own.

    Not a ROS timer: rclpy's executor takes half a millisecond for each wake-up and serves the messages that came first,
    so what arrives would make the arm's commands late. What was missed is skipped, not made up for; after a clock that
    jumped the next call comes at once.

    Parameters
    ----------
    clock
        Says what time it is; simulated time is followed at any pace.
    failed
        Called by the thread with what ``tick`` raised; the loop has ended then.
    priority
        Real-time priority of the thread (SCHED_FIFO, 1 … 99); 0 leaves it among all others. The thread that makes the
        loop gets the one below until :meth:`end`: were it not to run while it holds Python's lock, the loop would wait.

    Attributes
    ----------
    due_ns
        When the call that runs was due, or the next one is.
    """

    def __init__(
        self,
        clock: ROSClock,
        period_s: float,
        tick: Callable[[], object],
        failed: Callable[[Exception], object],
        *,
        priority: int = 0,
    ) -> None:
        self._clock = clock
        self._period_ns = round(period_s * _NS)
        self._tick = tick
        self._failed = failed
        self._ending = False
        self._refused = ""
        self.due_ns = 0
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(priority, started), name="control", daemon=True)
        self._thread.start()
        started.wait()
        if self._refused:
            raise ValueError(self._refused)
        self._raised = priority > 0
        if self._raised:
            _real_time(max(priority - 1, 1))

    def end(self) -> None:
        """Call no more; returns when a running call is over. May be called twice, by the thread that made it."""
        self._ending = True
        self._thread.join()
        if self._raised:
            self._raised = False
            os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))

    def _run(self, priority: int, started: threading.Event) -> None:
        try:
            if priority:
                _real_time(priority)
        except (OSError, AttributeError, ValueError) as error:
            self._refused = (
                f"parameter realtime_priority is {priority}, which this system does not grant ({error}); write 0, or a "
                "priority from 1 to 99 and allow it to this user (`ulimit -r`, rtprio in /etc/security/limits.d)"
            )
            return
        finally:
            started.set()
        try:
            self._call_back()
        except Exception as error:  # noqa: BLE001  (whatever it is, the node's own thread has to end the process)
            self._failed(error)

    def _call_back(self) -> None:
        self.due_ns = self._clock.now().nanoseconds + self._period_ns
        while not self._ending:
            now_ns = self._clock.now().nanoseconds
            # further away than a period: the clock went back
            if 0 < self.due_ns - now_ns <= self._period_ns:
                ahead_s = (self.due_ns - now_ns) / _NS
                time.sleep(min(ahead_s, _LOOK_S) if self._clock.ros_time_is_active else ahead_s)
                continue
            self._tick()
            now_ns = self._clock.now().nanoseconds
            late_ns = now_ns - self.due_ns
            on_the_grid = 0 <= late_ns < _NS
            periods = late_ns // self._period_ns + 1
            self.due_ns = self.due_ns + periods * self._period_ns if on_the_grid else now_ns + self._period_ns


def _real_time(priority: int) -> None:
    """Give the calling thread a real-time priority; what it starts has none."""
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
