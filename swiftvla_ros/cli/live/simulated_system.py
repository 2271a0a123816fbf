# SPDX-License-Identifier: Apache-2.0
"""A whole system with the simulated robot, for the length of one command."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO

from swiftvla_ros.bringup.processes import ProcessDescription, describe, transport_environment
from swiftvla_ros.bringup.supervisor import ProcessEvent, Supervisor
from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.live.graph import GraphError, own_domain

_LAST_LINES = 15


def describe_simulated(options: SystemOptions, *, expert: bool = False) -> list[ProcessDescription]:
    """Describe the system with the simulated robot, whatever the options say.

    With ``expert`` the scripted demonstrator stands in the policy's place and takes instructions as it does.
    """
    processes = describe(replace(options, sim=True))
    if expert:
        return [*(process for process in processes if process.name != "policy"), describe_expert(options)]
    return processes


def describe_expert(options: SystemOptions, *, as_leader: bool = False) -> ProcessDescription:
    """Describe the scripted demonstrator; ``as_leader`` it moves a leader arm instead of sending chunks."""
    return ProcessDescription(
        "policy", "expert_node", {"robot": options.robot, "scene": options.scene, "as_leader": as_leader}
    )


class SimulatedSystem:
    """Starts every node as a process of its own, in a ROS domain of its own; a context manager.

    The processes' lines go to ``folder/log``.
    """

    def __init__(self, processes: Sequence[ProcessDescription], folder: Path) -> None:
        self.events: list[ProcessEvent] = []
        self._log = folder / "log"
        self._log.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, IO[str]] = {
            p.name: (self._log / f"{p.name}.log").open("w", encoding="utf-8") for p in processes
        }
        # Set for this process, too: its own subscriptions must be in the same domain and transport.
        self.environment = {**own_domain(), "ROS_LOG_DIR": str(self._log.resolve()), **transport_environment()}
        os.environ.update(self.environment)
        self._supervisor = Supervisor(processes, on_line=self._write, on_event=self.events.append)
        self._thread = threading.Thread(target=self._supervisor.run, name="supervisor")

    def __enter__(self) -> SimulatedSystem:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End all processes and wait for them; the bag is complete afterwards."""
        self._supervisor.request_stop()
        self._thread.join()
        for file in self._files.values():
            file.close()

    def check(self) -> None:
        """Raise :class:`GraphError` with the last lines of the process that ended the system, if one did."""
        failure = self._supervisor.failure
        if failure is None:
            return
        file = self._log / f"{failure.process}.log"
        lines = file.read_text(encoding="utf-8").splitlines()[-_LAST_LINES:]
        raise GraphError("\n".join([failure.text, *(f"  [{failure.process}] {line}" for line in lines)]))

    def deaths(self) -> list[str]:
        """Tell which processes died by themselves, and how."""
        return [e.text for e in self.events if e.kind in ("died", "gave_up")]

    def _write(self, name: str, line: str) -> None:
        file = self._files[name]
        if not file.closed:
            file.write(line + "\n")
            file.flush()
