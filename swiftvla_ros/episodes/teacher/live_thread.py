# SPDX-License-Identifier: Apache-2.0
"""The thread in which the geometry transformer computes: steps in, features out, never in the policy's way. No ROS."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from swiftvla_ros.episodes.teacher.backoff import PolicyWatch, lower_priority
from swiftvla_ros.episodes.teacher.live_episodes import End, Job, LiveEpisode, LiveEpisodes, Step
from swiftvla_ros.episodes.teacher.stream import GeometryStream, ViewError
from swiftvla_ros.episodes.teacher.writer import TargetsWriter
from swiftvla_ros.observation.pairing import PairedObservation

if TYPE_CHECKING:
    from swiftvla_ros.geometry.feature_stream import StreamStep

# While no message comes it is looked at again this often, s.
_WAIT_S = 0.1
# What is left to do at the end may take this long, s; a supervisor waits longer than that for a process.
_FINISH_S = 2.0


@dataclass(frozen=True)
class LookedAt:
    """One step as it is published: ``number`` counts from 1 since the temporal cache was emptied."""

    observation: PairedObservation
    number: int
    seen: StreamStep


@dataclass(frozen=True)
class GeometryStatus:
    """Counts since activation; ``waiting`` is what has yet to be computed, ``paused_s`` is time given to the policy."""

    steps: int = 0
    skipped: int = 0
    gaps: int = 0
    waiting: int = 0
    paused_s: float = 0.0
    late: int = 0
    episodes: int = 0
    step_s: float = 0.0
    error: str = ""


class _EndedError(Exception):
    """The thread shall end in the middle of a step."""


class GeometryThread:
    """Owns the stream's thread, which starts at once and runs until :meth:`end`.

    The node's executor thread feeds ``episodes`` and ``watch`` inside ``with thread.feeding():``. Steps that come while
    the policy works wait; when more than ``most_waiting`` do, all of them are given up at once: one gap, not many.
    After a gap the transformer begins with an empty cache: it never sees steps as neighbours that were none.

    The stream's ``between_blocks`` must call :meth:`between_blocks`. The ``writer``, where there is one, takes the
    features of whole episodes, by the name that ``episode_name`` gives; ``publish`` and ``report`` are called by the
    thread, with each step and with texts for the log.
    """

    def __init__(
        self,
        stream: GeometryStream,
        *,
        episodes: LiveEpisodes,
        watch: PolicyWatch,
        most_waiting: int,
        writer: TargetsWriter | None,
        episode_name: Callable[[LiveEpisode], str],
        now_ns: Callable[[], int],
        publish: Callable[[LookedAt], None],
        report: Callable[[str], None],
    ) -> None:
        self._stream = stream
        self.episodes = episodes
        self.watch = watch
        self._most_waiting = most_waiting
        self._writer = writer
        self._episode_name = episode_name
        self._now_ns = now_ns
        self._publish = publish
        self._report = report
        self._condition = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._status = GeometryStatus()
        self._deadline_s: float | None = None
        self._paused = False
        # The step that the cache ends with.
        self._last: tuple[LiveEpisode, int] | None = None
        self._number = 0
        self._thread = threading.Thread(target=self._run, name="geometry", daemon=True)
        self._thread.start()

    @contextmanager
    def feeding(self) -> Iterator[None]:
        """``with thread.feeding():`` change ``episodes`` and ``watch`` in there; what is to do then is queued."""
        with self._condition:
            yield
            self._queue()
            if self._paused and self.watch.may_compute(time.monotonic()):
                self._condition.notify()

    def clear(self) -> None:
        """Forget everything, as after a clock jump."""
        with self._condition:
            self.episodes.clear()
            self.watch.clear()
            self._jobs = deque(job for job in self._jobs if isinstance(job, End))

    def status(self) -> GeometryStatus:
        """A snapshot for reports."""
        with self._condition:
            return replace(self._status, waiting=len(self._jobs), late=self.watch.late)

    def end(self) -> None:
        """Do what still waits, for two seconds at most, and end."""
        with self._condition:
            self._deadline_s = time.monotonic() + _FINISH_S
            # The policy ends as well, or will get its processor back.
            self.watch.see_state(following=False, device="")
            self._condition.notify()
        self._thread.join()
        left = sum(isinstance(job, Step) for job in self._jobs)
        if left:
            self._report(f"{left} steps were still waiting at the end, and are given up")

    def between_blocks(self) -> None:
        """Wait while the policy works; called by the transformer before each block."""
        begin_s = now_s = time.monotonic()
        with self._condition:
            while not self.watch.may_compute(now_s):
                self._paused = True
                self._condition.wait(_WAIT_S)
                now_s = time.monotonic()
            self._paused = False
            if now_s > begin_s:
                self._status = replace(self._status, paused_s=self._status.paused_s + now_s - begin_s)
            if self._deadline_s is not None and now_s > self._deadline_s:
                raise _EndedError

    def _queue(self) -> None:
        """Take what there is to do; the condition is held."""
        jobs = self.episodes.take(self._now_ns())
        if not jobs:
            return
        self._jobs += jobs
        steps = [job for job in self._jobs if isinstance(job, Step)]
        if len(steps) > self._most_waiting:
            self._jobs = deque(job for job in self._jobs if isinstance(job, End))
            for job in steps:
                job.episode.skipped += 1
            self._status = replace(self._status, skipped=self._status.skipped + len(steps))
            self._report(
                f"{len(steps)} steps are skipped: the policy leaves too little time; the cache begins anew after them"
            )
        self._condition.notify()

    def _run(self) -> None:
        self._report(f"the transformer computes at priority {lower_priority()}")
        while (job := self._next()) is not None and self._do(job):
            pass

    def _do(self, job: Job) -> bool:
        """Do one thing; False when the thread shall end in the middle of it."""
        try:
            if isinstance(job, Step):
                self._look(job)
            else:
                self._finish(job.episode)
        except _EndedError:
            return False
        except (OSError, ViewError, ValueError) as error:
            # A full disk or foreign images: the robot goes on, and the log says what is missing.
            self._last = None
            with self._condition:
                job.episode.skipped += 1
                self._status = replace(self._status, error=str(error))
            self._report(str(error))
        return True

    def _next(self) -> Job | None:
        with self._condition:
            while not self._jobs:
                if self._deadline_s is not None:
                    return None
                self._condition.wait(_WAIT_S)
                self._queue()
            if self._deadline_s is not None and time.monotonic() > self._deadline_s:
                return None
            return self._jobs.popleft()

    def _look(self, job: Step) -> None:
        episode, step = job.episode, job.step
        if step.observation is None:
            with self._condition:
                self._status = replace(self._status, gaps=self._status.gaps + 1)
            return
        if self._last is None or self._last[0] is not episode:
            if self._writer is not None:
                self._writer.begin()
            self._number = 0
        elif step.index != self._last[1] + 1:
            self._number = 0
        if self._number == 0:
            self._stream.reset()
        self._last = None
        begin_s, paused_s = time.monotonic(), self._status.paused_s
        self.between_blocks()
        seen = self._stream.look(step.observation.images)
        self._last = (episode, step.index)
        self._number += 1
        if self._writer is not None and episode.whole and not episode.skipped:
            self._writer.add(step.time_ns / 1e9, seen.features[0])
        with self._condition:
            own_s = time.monotonic() - begin_s - (self._status.paused_s - paused_s)
            self._status = replace(self._status, steps=self._status.steps + 1, step_s=own_s, error="")
        self._publish(LookedAt(step.observation, self._number, seen))

    def _finish(self, episode: LiveEpisode) -> None:
        self._last = None
        if self._writer is None:
            return
        name = self._episode_name(episode)
        if not episode.whole:
            why = "its begin, or an episode before it, was not seen, or the clock jumped"
        elif episode.skipped:
            why = f"{episode.skipped} of its steps were skipped"
        else:
            why = self._writer.finish(name)
        if why:
            self._report(f"no targets of {name}: {why}; `swiftvla teacher-targets BAG` computes them from its bag")
            return
        with self._condition:
            self._status = replace(self._status, episodes=self._status.episodes + 1)
        self._report(f"targets of {name} are in {self._writer.folder}")
