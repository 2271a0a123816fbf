# SPDX-License-Identifier: Apache-2.0
"""Runs the described processes on a machine without ``launch``: starts, watches, respawns and ends them."""

from __future__ import annotations

import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from swiftvla_ros.bringup import child as child_program
from swiftvla_ros.bringup.processes import ProcessDescription
from swiftvla_ros.contract.exit_codes import EXIT_CONFIGURATION, EXIT_STOOD_STILL
from swiftvla_ros.log_folder import provide_log_folder

# Long enough for a node to close a bag or a renderer; an arm's operator should not wait longer for Ctrl-C.
_INTERRUPT_PATIENCE_S = 5.0
_TERMINATE_PATIENCE_S = 3.0
_FIRST_RESPAWN_DELAY_S = 1.0
_LONGEST_RESPAWN_DELAY_S = 30.0
# A process that lived this long was healthy: its next death is not counted with the earlier ones.
_HEALTHY_AFTER_S = 20.0
_MOST_QUICK_DEATHS = 5
# Python runs a signal's handler between two steps of the main thread, and a signal that came just before the thread
# waits, or that another thread got, doesn't end the wait: so none is longer than this.
_LONGEST_WAIT_S = 0.5

EventKind = Literal["started", "died", "respawning", "gave_up", "stopping", "killed"]


@dataclass(frozen=True)
class ProcessEvent:
    """Something that happened to a process, for the operator.

    ``text`` names the process; ``returncode`` is negative where a signal killed it, as in :mod:`subprocess`.
    """

    kind: EventKind
    process: str
    text: str
    returncode: int | None = None


@dataclass
class _Child:
    description: ProcessDescription
    popen: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    quick_deaths: int = 0
    respawn_at: float | None = None


class Supervisor:
    """Starts each process on its own, repeats its lines with its name, and restarts or ends the system when one dies.

    Each process runs in its own session, so that Ctrl-C in a terminal reaches the supervisor alone, which then ends all
    of them in order: SIGINT, SIGTERM, SIGKILL. On Linux the kernel ends them when the supervisor itself is killed: it
    watches the *thread* that started them, so :meth:`run` starts all of them and outlives them.

    ``environment`` is set on top of this process's own. ``on_line`` is called from a reading thread with (process name,
    line) for each line that a process prints, ``on_event`` from the thread of :meth:`run`.
    """

    def __init__(
        self,
        processes: Sequence[ProcessDescription],
        *,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str, str], None] | None = None,
        on_event: Callable[[ProcessEvent], None] | None = None,
    ) -> None:
        self._children = {p.name: _Child(p) for p in processes}
        if len(self._children) != len(processes):
            raise ValueError(f"two processes share a name: {[p.name for p in processes]}; give each its own")
        self._environment = dict(environment or {})
        self._on_line = on_line or _print_line
        self._on_event = on_event or _print_event
        # None wakes the loop for a stop request; a name tells that this process has ended.
        self._wake: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stop_requested = False
        self._failure: ProcessEvent | None = None

    @property
    def failure(self) -> ProcessEvent | None:
        """Why the system ended by itself; None while it runs and after a requested stop."""
        return self._failure

    def pid(self, name: str) -> int | None:
        """Return the process id of ``name`` while it runs."""
        popen = self._children[name].popen
        return popen.pid if popen is not None and popen.returncode is None else None

    def request_stop(self) -> None:
        """Ask :meth:`run` to end everything; may be called from any thread and from a signal handler."""
        self._stop_requested = True
        self._wake.put(None)

    def run(self) -> int:
        """Run the system until a stop is requested, and return 0, or a process dies that can't be respawned, and 1."""
        # Said once, here, and not by each process that inherits the choice.
        notice, _ = provide_log_folder()
        if notice:
            print(notice, file=sys.stderr, flush=True)
        try:
            for child in self._children.values():
                if self._stop_requested:
                    break
                self._start(child)
            while not self._stop_requested and self._failure is None:
                self._wait_and_react()
        finally:
            self._stop_all()
        return 0 if self._failure is None else 1

    def _wait_and_react(self) -> None:
        due = [c.respawn_at for c in self._children.values() if c.respawn_at is not None]
        next_s = min(due, default=math.inf) - time.monotonic()
        try:
            name = self._wake.get(timeout=min(max(0.0, next_s), _LONGEST_WAIT_S))
        except queue.Empty:
            name = None
        if name is not None:
            self._react_to_death(self._children[name])
        now = time.monotonic()
        for child in self._children.values():
            if child.respawn_at is not None and child.respawn_at <= now and not self._stop_requested:
                child.respawn_at = None
                self._start(child)

    def _start(self, child: _Child) -> None:
        description = child.description
        environment = {**os.environ, **self._environment, **description.environment, "PYTHONUNBUFFERED": "1"}
        fate = [str(int(description.signal_when_orphaned)), str(os.getpid())]
        child.popen = subprocess.Popen(
            [sys.executable, "-I", "-S", child_program.__file__, *fate, *description.command()],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        child.started_at = time.monotonic()
        threading.Thread(target=self._follow, args=(description.name, child.popen), daemon=True).start()
        self._tell("started", description.name, f"started, pid {child.popen.pid}")

    def _follow(self, name: str, popen: subprocess.Popen[bytes]) -> None:
        reader = threading.Thread(target=self._read, args=(name, popen), daemon=True)
        reader.start()
        popen.wait()
        # A grandchild may keep the pipe open for ever; the last lines of the process itself are there at once.
        reader.join(timeout=1.0)
        self._wake.put(name)

    def _read(self, name: str, popen: subprocess.Popen[bytes]) -> None:
        if popen.stdout is None:
            return
        with popen.stdout as lines:
            for line in lines:
                self._on_line(name, line.decode(errors="replace").rstrip())

    def _react_to_death(self, child: _Child) -> None:
        name, returncode = child.description.name, child.popen.returncode if child.popen is not None else 0
        how = describe_returncode(returncode)
        lived_s = time.monotonic() - child.started_at
        may_go, may_return = not child.description.essential, child.description.respawn
        if may_go and (returncode == EXIT_CONFIGURATION or not may_return):
            self._tell("died", name, f"{how}; the system goes on without it", returncode)
            return
        if returncode == EXIT_CONFIGURATION:
            how = "can't be configured (see its lines above)"
            self._failure = self._tell("died", name, f"{how}; the system ends", returncode)
            return
        if not may_return:
            self._failure = self._tell("died", name, f"{how}; the system can't run without it and ends", returncode)
            return
        child.quick_deaths = child.quick_deaths + 1 if lived_s < _HEALTHY_AFTER_S else 1
        if child.quick_deaths >= _MOST_QUICK_DEATHS:
            end = "goes on without it" if may_go else "ends"
            text = f"{how}, {child.quick_deaths} times soon after its start; the system {end}"
            event = self._tell("gave_up", name, text, returncode)
            self._failure = None if may_go else event
            return
        self._tell("died", name, f"{how} after {lived_s:.1f} s", returncode)
        delay_s = min(_FIRST_RESPAWN_DELAY_S * 2 ** (child.quick_deaths - 1), _LONGEST_RESPAWN_DELAY_S)
        child.respawn_at = time.monotonic() + delay_s
        self._tell("respawning", name, f"starting it again in {delay_s:.0f} s")

    def _tell(self, kind: EventKind, process: str, text: str, returncode: int | None = None) -> ProcessEvent:
        event = ProcessEvent(kind, process, f"{process}: {text}" if process else text, returncode)
        self._on_event(event)
        return event

    def _stop_all(self) -> None:
        self._tell("stopping", "", "ending all processes")
        steps = (
            (signal.SIGINT, _INTERRUPT_PATIENCE_S),
            (signal.SIGTERM, _TERMINATE_PATIENCE_S),
            (signal.SIGKILL, _TERMINATE_PATIENCE_S),
        )
        for number, patience_s in steps:
            alive = [c.popen for c in self._children.values() if c.popen is not None and c.popen.poll() is None]
            if not alive:
                return
            if number != signal.SIGINT:
                names = [c.description.name for c in self._children.values() if c.popen in alive]
                self._tell("killed", ", ".join(names), f"still running, sending {number.name}")
            for popen in alive:
                # Its own session makes the process a group leader: what it started ends with it.
                with suppress(ProcessLookupError):
                    os.killpg(popen.pid, number)
            deadline = time.monotonic() + patience_s
            for popen in alive:
                with suppress(subprocess.TimeoutExpired):
                    popen.wait(timeout=max(0.0, deadline - time.monotonic()))


def describe_returncode(returncode: int) -> str:
    """Tell a process's end in words: ``ended with exit code 1``, ``was killed by SIGKILL``."""
    if returncode == EXIT_STOOD_STILL:
        return f"ended with exit code {returncode}, since it had stood still"
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"


def _print_line(name: str, line: str) -> None:
    print(f"[{name}] {line}", flush=True)


def _print_event(event: ProcessEvent) -> None:
    if event.kind != "started":
        print(f"[supervisor] {event.text}", flush=True)
