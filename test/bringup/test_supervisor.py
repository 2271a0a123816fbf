# SPDX-License-Identifier: Apache-2.0
"""The supervisor's promises, kept with small real processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from swiftvla_ros.bringup.processes import ProcessDescription
from swiftvla_ros.bringup.supervisor import ProcessEvent, Supervisor
from swiftvla_ros.contract.exit_codes import EXIT_CONFIGURATION

SLEEP = "import time; print('alive', flush=True); time.sleep(600)"
DEAF = f"import signal; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; {SLEEP}"


@dataclass(frozen=True)
class Script(ProcessDescription):
    """A process that runs a line of Python instead of a node."""

    executable: str = ""
    code: str = SLEEP

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.code]


class Running:
    """A supervisor in a thread of its own, with everything that it told."""

    def __init__(self, *scripts: Script) -> None:
        self.events: list[ProcessEvent] = []
        self.lines: list[tuple[str, str]] = []
        self.supervisor = Supervisor(
            scripts, on_event=self.events.append, on_line=lambda name, line: self.lines.append((name, line))
        )
        self.returncode: int | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.returncode = self.supervisor.run()

    def stop(self) -> int | None:
        """End it and give the exit code."""
        self.supervisor.request_stop()
        return self.wait()

    def wait(self) -> int | None:
        """Wait until it has ended."""
        self._thread.join(timeout=20)
        return self.returncode

    def kinds(self, name: str) -> list[str]:
        """List what happened to a process."""
        return [e.kind for e in self.events if e.process == name]


def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the awaited condition never came"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie doesn't)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_lines_carry_the_name_of_their_process() -> None:
    """Protects: one terminal with seven processes stays readable."""
    # It stays: the end of a process would end the other, perhaps before it said anything.
    second = "import signal, sys; print('on stderr', file=sys.stderr, flush=True); signal.pause()"
    running = Running(Script("first"), Script("second", code=second))
    until(lambda: ("first", "alive") in running.lines and ("second", "on stderr") in running.lines)
    running.stop()


def test_a_killed_process_is_named_and_started_again() -> None:
    """Protects: the arm gets its policy back after a crash, and the operator reads which process it was."""
    running = Running(Script("policy", respawn=True), Script("other"))
    until(lambda: ("policy", "alive") in running.lines)
    first = running.supervisor.pid("policy")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: running.kinds("policy").count("started") == 2)
    assert any("policy: was killed by SIGKILL" in e.text for e in running.events)
    assert running.supervisor.pid("policy") != first
    assert running.kinds("other") == ["started"]
    assert running.stop() == 0


def test_a_process_that_may_not_be_respawned_ends_the_system() -> None:
    """Protects: no half system that looks alive without its executor."""
    running = Running(Script("policy", respawn=True), Script("executor", code="raise SystemExit(3)"))
    assert running.wait() == 1
    assert running.supervisor.failure is not None
    assert "executor: ended with exit code 3" in running.supervisor.failure.text
    assert running.supervisor.pid("policy") is None


def test_a_wrong_configuration_is_not_tried_again() -> None:
    """Protects: a missing checkpoint is told once instead of every few seconds for ever."""
    running = Running(Script("policy", respawn=True, code=f"raise SystemExit({EXIT_CONFIGURATION})"))
    assert running.wait() == 1
    assert running.kinds("policy") == ["started", "died"]


def test_a_deaf_process_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects: Ctrl-C ends the system even when a node hangs."""
    monkeypatch.setattr("swiftvla_ros.bringup.supervisor._INTERRUPT_PATIENCE_S", 0.3)
    monkeypatch.setattr("swiftvla_ros.bringup.supervisor._TERMINATE_PATIENCE_S", 0.3)
    running = Running(Script("deaf", code=DEAF))
    until(lambda: running.lines)
    pid = running.supervisor.pid("deaf")
    assert pid is not None
    assert running.stop() == 0
    assert not alive(pid)
    assert any("SIGKILL" in e.text for e in running.events)


PARENT = """
import signal, sys, threading
sys.path.insert(0, {folder!r})
from test_supervisor import Script
from swiftvla_ros.bringup.supervisor import Supervisor
s = Supervisor([Script("a"), Script("b", respawn=True)], on_event=lambda e: print(e.text, flush=True))
signal.signal(signal.SIGINT, lambda *_: s.request_stop())
def deliver():
    sys.stdin.readline()
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
threading.Thread(target=deliver, daemon=True).start()
raise SystemExit(s.run())
"""


@pytest.fixture
def parent() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Start a supervisor in a process and session of its own; give it and the ids of its two children."""
    code = PARENT.format(folder=str(Path(__file__).parent))
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
    assert process.stdout is not None
    pids: list[int] = []
    for line in process.stdout:
        if "started, pid" in line:
            pids.append(int(line.rsplit(" ", 1)[1]))
        # Both have said that they run, so that both have left Python's start behind.
        if len(pids) == 2 and line.startswith("[b]"):
            break
    assert len(pids) == 2
    yield process, pids
    process.kill()
    process.wait()


def test_ctrl_c_ends_everything_with_exit_code_0(parent: tuple[subprocess.Popen[str], list[int]]) -> None:
    """Protects: a stop by the operator is no failure and leaves nothing behind."""
    process, pids = parent
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=15) == 0
    until(lambda: not any(alive(p) for p in pids))


def test_a_signal_that_another_thread_gets_ends_everything(parent: tuple[subprocess.Popen[str], list[int]]) -> None:
    """Protects: Ctrl-C is heard wherever the kernel delivers it, not only where it ends the main thread's wait."""
    process, pids = parent
    process.communicate("now\n", timeout=15)
    assert process.returncode == 0
    until(lambda: not any(alive(p) for p in pids))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent-death signal is Linux's")
def test_no_orphans_when_the_supervisor_is_killed(parent: tuple[subprocess.Popen[str], list[int]]) -> None:
    """Protects: no policy or executor keeps driving the arm without anybody to end it."""
    process, pids = parent
    process.kill()
    until(lambda: not any(alive(p) for p in pids))


def test_the_system_goes_on_without_what_only_watches() -> None:
    """Protects: a recorder that dies or can't be configured is named, and the arm goes on."""
    running = Running(
        Script("recorder", essential=False, code="raise SystemExit(1)"),
        Script("wrong", essential=False, respawn=True, code=f"raise SystemExit({EXIT_CONFIGURATION})"),
        Script("executor"),
    )
    until(lambda: all("died" in running.kinds(name) for name in ("recorder", "wrong")))
    assert all("goes on without it" in e.text for e in running.events if e.kind == "died")
    assert running.supervisor.pid("executor") is not None
    assert running.stop() == 0
