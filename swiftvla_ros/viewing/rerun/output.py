# SPDX-License-Identifier: Apache-2.0
"""Where a viewed run goes: a file, a viewer that runs already, or a window of its own.

rerun sends usage statistics and listens on all interfaces unless it is told not to; it is told here.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import rerun as rr

from swiftvla_ros.errors import UserError

_LOOPBACK = "127.0.0.1"
_START_TIMEOUT_S = 30.0
_FLUSH_TIMEOUT_S = 60.0


class ViewerError(UserError):
    """A run can't be shown or written; the message says why, and what to do."""


def has_display() -> bool:
    """Say whether a window can be opened."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


@contextmanager
def open_output(save: Path | None, connect: str | None) -> Iterator[rr.RecordingStream]:
    """Open a recording that goes to a file, to a viewer by its URL, or to a new window.

    A file is there under its name only when it is whole.

    Raises
    ------
    ViewerError
        The file can't be written, nobody listens at the URL, or no window opens.
    """
    stream = rr.RecordingStream("swiftvla")
    if save is not None:
        part = save.with_name(f".{save.name}.part")
        try:
            save.parent.mkdir(parents=True, exist_ok=True)
            part.touch()
        except OSError as error:
            raise ViewerError(f"{save}: can't be written: {error}") from error
        try:
            stream.save(part)
            yield stream
            stream.flush(timeout_sec=_FLUSH_TIMEOUT_S)
            stream.disconnect()
            part.replace(save)
        finally:
            stream.disconnect()
            part.unlink(missing_ok=True)
        return
    try:
        stream.connect_grpc(connect if connect is not None else open_window())
    except (ValueError, RuntimeError) as error:
        raise ViewerError(f"--connect {connect}: {error}") from error
    try:
        yield stream
        stream.flush(timeout_sec=_FLUSH_TIMEOUT_S)
    finally:
        stream.disconnect()


def open_window() -> str:
    """Start rerun's viewer, which stays when this process ends; return the URL at which it listens on this machine."""
    port = _free_port()
    command = window_command(port)
    viewer = subprocess.Popen(command, env=quiet_environment(), start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _answers(port):
        if viewer.poll() is not None or time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.killpg(viewer.pid, signal.SIGTERM)  # the window is a child of what was started
            raise ViewerError(
                f"rerun's window did not open (`{' '.join(command)}` tells why); write a file with --save FILE.rrd"
            )
        time.sleep(0.1)
    return f"rerun+http://{_LOOPBACK}:{port}/proxy"


def window_command(port: int) -> list[str]:
    """Return what starts a window that listens on this machine alone; rerun's default is every interface."""
    return [sys.executable, "-m", "rerun", "--bind", _LOOPBACK, "--port", str(port), "--expect-data-soon"]


def quiet_environment() -> dict[str, str]:
    """Return the environment in which rerun collects no usage statistics, whatever its own settings say.

    Its analytics are off wherever the variable CI is set, as on build servers; nothing else looks at it there.
    """
    environment = {**os.environ, "CI": "1"}
    for name in ("FORCE_RERUN_ANALYTICS", "TELEMETRY_ENABLED"):
        environment.pop(name, None)
    return environment


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((_LOOPBACK, port)) == 0
