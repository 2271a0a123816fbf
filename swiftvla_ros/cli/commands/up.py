# SPDX-License-Identifier: Apache-2.0
"""``swiftvla up``: the whole system, for machines without ``ros2 launch``."""

from __future__ import annotations

import signal
from typing import Any

import typer

from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.system_flags import with_system_flags


@with_system_flags()
def command(**system: Any) -> None:
    """Start the system on your robot and keep it running.

    Every node is a process of its own. One that dies is named; cameras, joint states and the policy are started again,
    and while the policy is away the arm slows down and holds. Ctrl-C ends all of them.

    The same processes with the same parameters as `ros2 launch swiftvla_ros policy.launch.py`.

    Then, from another terminal: swiftvla tell "pick up the red block"
    """
    from swiftvla_ros.bringup.processes import describe, transport_environment
    from swiftvla_ros.bringup.supervisor import Supervisor

    processes = describe(SystemOptions(**system))
    supervisor = Supervisor(processes, environment=transport_environment())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: supervisor.request_stop())
    print(f"[supervisor] starting {', '.join(p.name for p in processes)}; Ctrl-C ends them", flush=True)
    raise typer.Exit(supervisor.run())
