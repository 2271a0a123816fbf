# SPDX-License-Identifier: Apache-2.0
"""When the geometry transformer may compute beside the policy: never while the policy does. No ROS in here.

A low priority is not enough. On two threads of one core the scheduler gives each its own, and the policy still loses a
third of its speed to what runs beside it: so the transformer stands still from the moment that the policy has something
to infer from until its chunk is there.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Sequence

import numpy as np

_NS = 1_000_000_000
# An observation that comes this share of the usual spacing after the last one is taken for the policy's next.
_SPACING_SHARE = 0.9
# The spacing that is assumed before two chunks have shown it, s.
_FIRST_SPACING_S = 0.1
# A policy that has not answered for so many of its usual latencies dropped the observation, or is gone.
_PATIENCE = 4.0
_LEAST_PATIENCE_S = 0.3
# An inference is late when it takes this much longer than usual; the transformer then rests.
_LATE = 1.5
_REST_S = 0.5
# "Usual" is the fifth part of the last inferences that was fastest: those that nothing disturbed.
_HISTORY = 100
_USUAL_PERCENTILE = 20
_LEAST_HISTORY = 8
# Of the thread that only takes messages.
_NICE = 10


class PolicyWatch:
    """What the policy does now, from what it publishes and from the images of the cameras that it waits for.

    Not locked. Stamps are ns on the ROS clock; ``now_s`` is monotonic time, so a stopped clock stops nobody. On another
    ``device`` than the policy's, and without ``back_off``, the transformer may always compute.
    """

    def __init__(self, camera_names: Sequence[str], device: str, *, back_off: bool = True) -> None:
        self._back_off = back_off
        self._on_gpu = device.startswith("cuda")
        self._newest_ns = dict.fromkeys(camera_names, 0)
        self._following = False
        self._shared = True
        self._chunk_ns = 0
        self._spacings_ns: deque[int] = deque(maxlen=8)
        self._durations_s: deque[float] = deque(maxlen=_HISTORY)
        self._waiting_since_s: float | None = None
        self._rest_until_s = 0.0
        self.late = 0
        """Inferences that were late."""

    def clear(self) -> None:
        """Forget stamps, as after a clock jump."""
        self._newest_ns = dict.fromkeys(self._newest_ns, 0)
        self._chunk_ns = 0
        self._waiting_since_s = None

    def see_state(self, following: bool, device: str) -> None:
        """Take from policy_state whether an instruction is followed, and where the policy computes."""
        self._following = following
        self._shared = not device or device.startswith("cuda") == self._on_gpu
        if not following:
            self._waiting_since_s = None

    def see_image(self, camera: str, stamp_ns: int, now_s: float) -> None:
        """An image has come, which the policy got as well."""
        self._newest_ns[camera] = stamp_ns
        spacing_ns = min(self._spacings_ns, default=round(_FIRST_SPACING_S * _NS))
        due_ns = self._chunk_ns + spacing_ns * _SPACING_SHARE
        if self._waiting_since_s is None and min(self._newest_ns.values()) > due_ns:
            self._waiting_since_s = now_s

    def see_chunk(self, stamp_ns: int, inference_s: float, now_s: float) -> None:
        """A chunk has come: the policy rests until the next observation."""
        if self._chunk_ns and stamp_ns > self._chunk_ns:
            self._spacings_ns.append(stamp_ns - self._chunk_ns)
        self._chunk_ns = stamp_ns
        self._waiting_since_s = None
        usual_s = self.usual_s
        if usual_s is not None and inference_s > _LATE * usual_s:
            self.late += 1
            self._rest_until_s = now_s + _REST_S
        self._durations_s.append(inference_s)

    @property
    def usual_s(self) -> float | None:
        """How long an inference takes that nothing disturbs; None before a few were seen."""
        if len(self._durations_s) < _LEAST_HISTORY:
            return None
        return float(np.percentile(self._durations_s, _USUAL_PERCENTILE))

    def may_compute(self, now_s: float) -> bool:
        """Whether the transformer may go on now."""
        if not self._following or not self._back_off:
            return True
        if now_s < self._rest_until_s:
            return False
        if self._waiting_since_s is None or not self._shared:
            return True
        patience_s = max(_LEAST_PATIENCE_S, _PATIENCE * (self.usual_s or 0.0))
        return now_s - self._waiting_since_s > patience_s


def be_nice() -> None:
    """Let every other thread that wants the processor go before this one, without starving it. Linux: thread only."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)


def lower_priority() -> str:
    """Give this thread the lowest priority that the system allows; returns which, for the log. Linux: thread only."""
    if hasattr(os, "sched_setscheduler") and hasattr(os, "SCHED_IDLE"):
        try:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        except OSError:
            pass
        else:
            return "SCHED_IDLE"
    try:
        # On Linux a thread's own: 0 means the calling thread there.
        os.setpriority(os.PRIO_PROCESS, 0, 19)
    except OSError:
        return "normal (the system allows no lower one)"
    return "nice 19"
