# SPDX-License-Identifier: Apache-2.0
"""A Ray cluster of several nodes on this machine, on addresses that nobody outside reaches, with a token of its own."""

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
# A node's processes all belong to the session of the one that was started here.
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
            self.kill(name, signal.SIGTERM)
        self._folder.cleanup()

    def ensure(self, name: str) -> None:
        """Start another node, such as ``127.0.0.3``, unless it is there; returns when it takes part."""
        if name not in self._nodes:
            self._start(name, f"--address={self.address}")

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End a node and its workers at once, as a machine that loses its power does."""
        node = self._nodes.pop(name)
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(node.pid, how)
            node.wait(_END_S)
        # Its parent may have ended before what it started.
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
                raise RuntimeError(f"node {name} did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.1)
