# SPDX-License-Identifier: Apache-2.0
"""The other interpreter's process: started, asked, and ended with this one."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from swiftvla_ros.errors import UserError
from swiftvla_ros.policy.lerobot.server import Arrays, MessageError, receive, send

PYTHON = "SWIFTVLA_LEROBOT_PYTHON"
"""The environment variable that names the interpreter which has lerobot; without it, this one."""

SERVER = Path(__file__).with_name("server.py")

# A process that only waits ends at once.
_PATIENCE_S, _END_S = 0.5, 5.0


class PolicyProcessError(UserError, RuntimeError):
    """The process does not answer, or not with what was asked for; the message says why, and what to do."""


class PolicyProcess:
    """A process that answers one request at a time; it ends when this object does.

    ``python`` is its interpreter, ``server`` the script that it runs. Raises PolicyProcessError where it can't be
    started.

    Attributes
    ----------
    what, package, variable
        What the process is, the package that its interpreter has, and the environment variable that names that.
    needs
        What is imported there and comes with the package.
    """

    what: ClassVar[str] = "the policy's process"
    package: ClassVar[str] = "lerobot"
    variable: ClassVar[str] = PYTHON
    needs: ClassVar[tuple[str, ...]] = ("lerobot", "torch")

    def __init__(self, python: str = "", server: Path = SERVER) -> None:
        self.python = python or os.environ.get(self.variable, "") or sys.executable
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = subprocess.Popen(
                    [self.python, str(server), str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=_environment(),
                    start_new_session=True,  # Ctrl-C is for this process, which ends that one in order
                )
        except OSError as error:
            ours.close()
            raise PolicyProcessError(
                f"{self.python}: {error.strerror}; set {self.variable} to the Python with {self.package}"
            ) from None
        self._channel, self._process = ours, process
        self.end = weakref.finalize(self, _end, ours, process)

    @property
    def pid(self) -> int:
        """The process' number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return bool(self.end.alive) and self._process.poll() is None

    def ask(
        self, request: Mapping[str, Any], arrays: Arrays | None = None, *, timeout_s: float
    ) -> tuple[dict[str, Any], Arrays]:
        """Send a request and give its answer; after a failure other than a told one the process is ended.

        Raises PolicyProcessError.
        """
        if not self.alive:
            raise PolicyProcessError(f"{self.python}: {self.what} has ended{self._how()}")
        try:
            self._channel.settimeout(timeout_s)
            send(self._channel, request, arrays)
            answer, given = receive(self._channel, timeout_s)
        except TimeoutError:
            self.end()
            raise PolicyProcessError(f"{self.python}: no answer to '{request['do']}' in {timeout_s:g} s") from None
        except MessageError as error:
            self.end()
            raise PolicyProcessError(f"{self.python}: {error}") from error
        except (EOFError, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)  # by itself, which tells how it ended
            self.end()
            raise PolicyProcessError(
                f"{self.python}: {self.what} ended amid '{request['do']}'{self._how()}; what it wrote stands "
                "above in the log"
            ) from None
        if problem := answer.get("error"):
            lacks = answer.get("lacks")
            fix = f"; set {self.variable} to the Python that has {self.package}" if lacks in self.needs else ""
            raise PolicyProcessError(f"{problem}{fix or '; install it there' if lacks else ''}")
        return answer, given

    def _how(self) -> str:
        code = self._process.poll()
        return "" if code is None else f" by signal {-code}" if code < 0 else f" with exit code {code}"


def _environment() -> dict[str, str]:
    """The variables of this process without those of its own interpreter: Python's, and what ROS' wheels add."""
    own = ("PYTHONPATH", "PYTHONHOME", "_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    if others := [path for path in libraries if path and not Path(path).is_relative_to(sys.prefix)]:
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(others)
    return environment


def _end(channel: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Close the channel, by which the process ends; one that computes is killed."""
    channel.close()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        # One of gigabytes on a busy machine is gone later; there is nothing more to do for it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
