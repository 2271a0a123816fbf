# SPDX-License-Identifier: Apache-2.0
"""``swiftvla up``: the whole system, for machines without ``ros2 launch``."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from swiftvla_ros.cli.output import refuse


def command(
    robot: Annotated[
        str, typer.Option(help="The robot's contract: a YAML file, or the name of a shipped one.")
    ] = "so101_sim",
    checkpoint: Annotated[str, typer.Option(help="The policy's checkpoint folder.")] = "models/swiftvla-nano-so101",
    device: Annotated[str, typer.Option(help="Where the policy computes: auto, cpu or cuda.")] = "auto",
    namespace: Annotated[str, typer.Option(help="ROS namespace of all nodes, for two arms on one network.")] = "",
    sim: Annotated[bool, typer.Option("--sim", help="Start the simulated robot, too.")] = False,
    loopback: Annotated[
        bool, typer.Option("--loopback", help="Start an arm that is where it is told to be, with grey pictures.")
    ] = False,
    shadow: Annotated[bool, typer.Option("--shadow", help="Command nothing; publish what would be.")] = False,
    seed: Annotated[int, typer.Option(help="The simulated robot's first scene.")] = 0,
    record: Annotated[Path | None, typer.Option(help="Record everything into this new folder, a bag.")] = None,
    black_box: Annotated[
        Path | None, typer.Option(help="Write the last 30 s into this folder on a fault, a stop or a take-over.")
    ] = None,
    geometry: Annotated[bool, typer.Option("--geometry", help="Start the 4D transformer beside the policy.")] = False,
    targets: Annotated[
        Path | None, typer.Option(help="With the 4D transformer: write its teacher targets into this folder.")
    ] = None,
) -> None:
    """Start the system on your robot and keep it running.

    Every node is a process of its own. One that dies is named; cameras, joint states and the policy are started again,
    and while the policy is away the arm slows down and holds. Ctrl-C ends all of them.

    The same processes with the same parameters as `ros2 launch swiftvla_ros policy.launch.py`.

    Then, from another terminal: swiftvla tell "pick up the red block"
    """
    from swiftvla_ros.bringup import Supervisor, describe, transport_environment

    try:
        processes = describe(
            robot,
            checkpoint,
            device=device,
            namespace=namespace,
            sim=sim,
            loopback=loopback,
            shadow=shadow,
            seed=seed,
            record=record,
            black_box=black_box,
            geometry=geometry,
            targets=targets,
        )
    except ValueError as error:
        refuse(error)
    supervisor = Supervisor(processes, environment=transport_environment())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: supervisor.request_stop())
    print(f"[supervisor] starting {', '.join(p.name for p in processes)}; Ctrl-C ends them", flush=True)
    raise typer.Exit(supervisor.run())
