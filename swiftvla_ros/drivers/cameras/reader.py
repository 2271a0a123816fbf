# SPDX-License-Identifier: Apache-2.0
"""The thread that reads one camera: whole frames with stamps; what is lost is counted, who was gone comes back."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

from swiftvla_ros.drivers.cameras.frames import (
    CameraError,
    CameraFrame,
    FilmEndedError,
    both_clocks,
    stamp_of,
    whole_frame,
)
from swiftvla_ros.drivers.cameras.sources import CameraSource

_NS = 1_000_000_000
# A camera that is plugged in again needs a moment; one that stays away is asked for all the time, but not often.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 1.0
# The usual time between two frames is the median of the last ones: a camera may be slower than was asked for.
_INTERVALS = 30
_A_GAP = 1.5
# The problem of a camera that was never read yet.
OPENING = "it is being opened"
_ALL_DAMAGED = "pictures come, and all are damaged"
# An unplugged camera loses no frames: what is longer is an absence.
_LONGEST_GAP_NS = 10 * _NS

Deliver = Callable[[CameraFrame, bytes, int], object]
"""Called by the reading thread with a frame, its bytes without what fills up, and its stamp, ns since 1970."""


@dataclass(frozen=True)
class CameraCounts:
    """What came of a camera since it was begun to be read.

    Parameters
    ----------
    frames
        Whole ones.
    lost
        Ones whose time passed between two others.
    damaged
        Refused ones.
    undated
        Whole ones whose driver gave no time that can be believed; they carry the time of arrival.
    opened
        How often it was opened.
    last_damage
        What was wrong with the last damaged one.
    """

    frames: int = 0
    lost: int = 0
    damaged: int = 0
    undated: int = 0
    opened: int = 0
    last_damage: str = ""


class CameraReader:
    """Reads a source from a thread of its own until :meth:`end`, and opens it again, and again, when it was gone.

    ``counts``, ``problem`` (why no frames come; empty while they do) and ``notes`` may be read by any thread.

    Parameters
    ----------
    source
        What is read.
    deliver
        Takes each whole frame.
    tell
        Called by the reading thread when ``problem`` changed, with the new one.
    failed
        Called by it with what is no camera's fault; it has ended then.
    """

    def __init__(
        self,
        source: CameraSource,
        deliver: Deliver,
        tell: Callable[[str], object],
        failed: Callable[[Exception], object],
    ) -> None:
        self.counts = CameraCounts()
        self.problem = OPENING
        self._source, self._deliver, self._tell, self._failed = source, deliver, tell, failed
        self._ending = threading.Event()
        self._wait_s = _FIRST_WAIT_S
        self._intervals: deque[int] = deque(maxlen=_INTERVALS)
        self._last_taken_ns: int | None = None
        self._asked_ns: int | None = None
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    @property
    def notes(self) -> list[str]:
        """What the camera does not do as the contract says."""
        return self._source.notes

    @property
    def silent_s(self) -> float:
        """For how long the source has been asked, to open or for a frame, and has not answered; 0 between two tries."""
        asked_ns = self._asked_ns
        return 0.0 if asked_ns is None else (time.monotonic_ns() - asked_ns) / _NS

    def end(self, timeout_s: float = 1.0) -> bool:
        """Read no more; whether the thread has ended. One that waits for a camera that hangs has not."""
        self._ending.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                self._read()
                self._ending.wait(self._wait_s)
                self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        except FilmEndedError as error:
            self._become(str(error))
        except Exception as error:  # noqa: BLE001  (whatever it is, the node's own thread has to end the process)
            self._failed(error)

    def _read(self) -> None:
        self._asked_ns = time.monotonic_ns()
        try:
            with closing(self._source.frames(self._ending)) as frames:
                for k, frame in enumerate(frames):
                    if k == 0:
                        self._intervals.clear()
                        self._last_taken_ns = None
                        self.counts = replace(self.counts, opened=self.counts.opened + 1)
                    self._take(frame)
                    self._asked_ns = time.monotonic_ns()
                    if self._ending.is_set():
                        return
        except FilmEndedError:
            raise
        except CameraError as error:
            self._become(str(error))
        finally:
            self._asked_ns = None

    def _take(self, frame: CameraFrame) -> None:
        now_ns, day_ns = both_clocks()
        counts = replace(self.counts, lost=self.counts.lost + self._lost_before(frame, now_ns))
        try:
            data = whole_frame(frame)
        except ValueError as error:
            self.counts = replace(counts, damaged=counts.damaged + 1, last_damage=str(error))
            if self.problem and not self.problem.startswith(_ALL_DAMAGED):
                self._become(f"{_ALL_DAMAGED}: {error}")
            return
        stamp_ns, by_driver = stamp_of(frame.taken_ns, now_ns, day_ns)
        self.counts = replace(counts, frames=counts.frames + 1, undated=counts.undated + (not by_driver))
        self._wait_s = _FIRST_WAIT_S
        self._become("")
        self._deliver(frame, data, stamp_ns)

    def _lost_before(self, frame: CameraFrame, now_ns: int) -> int:
        """How many frames are missing between the last one and this one, by the driver's time where it has one."""
        taken_ns = frame.taken_ns or now_ns
        last_ns, self._last_taken_ns = self._last_taken_ns, taken_ns
        if last_ns is None or not 0 < taken_ns - last_ns < _LONGEST_GAP_NS:
            return 0
        interval_ns = taken_ns - last_ns
        usual_ns = statistics.median(self._intervals) if self._intervals else interval_ns
        self._intervals.append(interval_ns)
        return round(interval_ns / usual_ns) - 1 if interval_ns > _A_GAP * usual_ns else 0

    def _become(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self._tell(problem)
