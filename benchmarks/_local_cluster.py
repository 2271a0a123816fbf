# SPDX-License-Identifier: Apache-2.0
"""A Ray cluster of several nodes on this machine, each with its own address, and a token that keeps others out."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

_START_S = 120.0
_END_S = 10.0
_HEAD = "127.0.0.2"


class LocalCluster:
    """Nodes with one processor each; a context, in which :meth:`ensure` starts one and :meth:`kill` kills one.

    Whoever connects needs ``environment``: Ray listens on all interfaces, and the token keeps strangers out.
    """

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind((_HEAD, 0))
            self.address = f"{_HEAD}:{probe.getsockname()[1]}"
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            # What its workers import is what is imported here.
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            # Workers step back behind everything else otherwise, and the speed would be that of a busy machine.
            "RAY_worker_niceness": "0",
            # A node that is gone is missed after some seconds.
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
        }
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "LocalCluster":
        # A socket's path may have no more than 107 characters.
        self._folder = tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True)
        self._start(_HEAD, "--head", f"--port={self.address.partition(':')[2]}", "--include-dashboard=false",
                    f"--temp-dir={self._folder.name}")  # fmt: skip
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name in [*self._nodes][::-1]:
            self.kill(name, gently=True)
        self._folder.cleanup()

    def ensure(self, name: str) -> None:
        """Start another node, such as ``127.0.0.3``, unless it is there; returns when it takes part."""
        if name not in self._nodes:
            self._start(name, f"--address={self.address}")

    def kill(self, name: str, *, gently: bool = False) -> None:
        """End a node and its workers: at once, as a machine that loses its power does, or as `ray stop` does."""
        node = self._nodes.pop(name)
        # Its workers, too: they'd finish what they are at before they miss their node.
        processes = [node.pid, *_descendants(node.pid)]
        if gently:
            node.terminate()
            with suppress(subprocess.TimeoutExpired):
                node.wait(_END_S)
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        # What its own parent no longer has.
        with suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()

    def _start(self, name: str, *options: str) -> None:
        log = Path(self._folder.name) / f"{name}.log"
        call = [
            str(Path(sys.executable).with_name("ray")), "start", *options, f"--node-ip-address={name}", "--num-cpus=1",
            "--num-gpus=0", "--object-store-memory=80000000", "--disable-usage-stats", "--block",
        ]  # fmt: skip
        with log.open("wb") as file:
            node = subprocess.Popen(
                call, stdout=file, stderr=file, env=os.environ | self.environment, start_new_session=True
            )
        self._nodes[name] = node
        deadline = time.monotonic() + _START_S
        while b"Ray runtime started" not in log.read_bytes():
            if node.poll() is not None or time.monotonic() > deadline:
                self.kill(name)
                raise RuntimeError(f"node {name} did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.1)


def _descendants(process: int) -> list[int]:
    children: list[int] = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):  # it has ended meanwhile
            children += map(int, path.read_text(encoding="ascii").split())
    return children + [further for child in children for further in _descendants(child)]
