# SPDX-License-Identifier: Apache-2.0
"""Nodes forked from one process that has imported what they import: each start is spared the seconds of its imports.

All but ROS itself, whose libraries have threads that a fork would not carry over. From ``main`` on the nodes are what
``python -m`` makes of them, to the end of their threads: the interpreter's own end, which takes apart all that is
imported, costs as much as a start. Cold starts and ends are tested by ``swiftvla up`` and ``demo``.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PRELOADED = (
    "swiftvla_ros.episodes.recording.recording",
    "swiftvla_ros.motion",
    "swiftvla_ros.policy.inference_thread",
    "swiftvla_ros.policy.runtimes.openvino_runtime",
    "swiftvla_ros.policy.runtimes.torch_runtime",
    "swiftvla_ros.replay.recorded_policy",
    "swiftvla_ros.sim.robots.loopback",
)
POLL_S = 0.01


class ForkedProcess:
    """What ``subprocess.Popen`` tells, of a process that another one has forked and waits for."""

    def __init__(self, pid: int, status: Path) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Exit status, or None while it runs."""
        if self.returncode is None and self._status.is_file():
            self.returncode = int(self._status.read_text())
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for the exit status."""
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(POLL_S)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):  # ended, but not yet written down
            if self.poll() is None:
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it, whatever it does."""
        self.send_signal(signal.SIGKILL)


class NodeStarter:
    """The process that has imported everything, and forks nodes."""

    def __init__(self) -> None:
        # The number of threads is what OpenMP reads when it is loaded, here for all of them.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-u", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def start(
        self, executable: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> ForkedProcess:
        """Start ``python -m swiftvla_ros.nodes.EXECUTABLE`` with arguments; what it prints goes to ``log``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        status = log.with_suffix(".status")
        order = [executable, list(arguments), str(log), str(status), dict(environment)]
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return ForkedProcess(int(self._process.stdout.readline()), status)

    def close(self) -> None:
        """End the process; nodes that still run go on."""
        self._process.kill()
        self._process.communicate()


def serve() -> None:
    """Fork a node for each order that is read."""
    for name in PRELOADED:
        with contextlib.suppress(ModuleNotFoundError):  # an extra: a node that needs it says so itself
            importlib.import_module(name)
    gc.freeze()  # else each node would copy what is imported to look for garbage in it
    for line in sys.stdin:
        guard = os.fork()
        if guard == 0:
            attend(*json.loads(line))
            return
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
            pass


def attend(executable: str, arguments: list[str], log: str, status: str, environment: dict[str, str]) -> None:
    """Fork a node, tell its process id, and write down how it ended."""
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        Path(f"{status}.new").write_text(str(ended))
        Path(f"{status}.new").rename(status)
        os._exit(0)
    os.environ.clear()
    os.environ.update(environment)
    for stream, path, flags in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_CREAT)):
        os.dup2(os.open(path, flags), stream)
    os.dup2(1, 2)
    sys.argv = [executable, *arguments]
    os._exit(ended_with(lambda: importlib.import_module(f"swiftvla_ros.nodes.{executable}").main()))


def ended_with(run: Callable[[], object]) -> int:
    """The exit status that Python would end with, once all threads have ended that it would wait for."""
    status = 0
    try:
        run()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001  (as the interpreter does it)
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]  # pools' threads are told to end, and all are waited for
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    serve()
