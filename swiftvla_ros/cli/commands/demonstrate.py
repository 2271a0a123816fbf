# SPDX-License-Identifier: Apache-2.0
"""``swiftvla demonstrate``: one demonstration after another, recorded, judged and kept."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.output import console
from swiftvla_ros.cli.system_flags import with_system_flags
from swiftvla_ros.extras import need

if TYPE_CHECKING:
    from swiftvla_ros.bringup.supervisor import Supervisor


@with_system_flags("robot", "namespace", "drivers", "emulated_bus", "teleop", "sim", "loopback", "seed", "scene")
def command(
    instruction: Annotated[str, typer.Argument(help="What you show, in the words that the policy will be told.")],
    out: Annotated[Path, typer.Argument(help="The session's folder: a new one, or an earlier one that goes on.")],
    episodes: Annotated[int, typer.Option(min=1, help="How many that succeeded the folder shall hold.")] = 50,
    reset_time: Annotated[
        float, typer.Option(min=0, help="Seconds to put the scene back, then the next episode begins; 0: it waits.")
    ] = 0.0,
    longest: Annotated[float, typer.Option(min=1, help="Seconds after which an episode ends by itself.")] = 120.0,
    operator: Annotated[str, typer.Option(help="Your name; it stands in each episode.")] = "",
    jpeg_quality: Annotated[int, typer.Option(min=0, max=100, help="Of raw images; 0 stores them raw.")] = 95,
    **system: Any,
) -> None:
    """Record demonstrations of an arm that you move: with a leader arm, a gamepad, or controllers of your own.

    The terminal shows each topic's rate against the contract's, what is lost and what is missing, and takes keys: e
    engages a leader arm (--teleop leader), which is released after each episode; space begins an episode and ends it as
    succeeded, f ends it as failed, d discards it, r discards it and begins again, n notes something, i changes the
    instruction of the next ones, q quits. The verdict of the last episode can be changed until the next one begins.

    Each episode is a bag of its own (OUT/episode_000000 and so on) with its verdict in episode.json; what was discarded
    lies in OUT/discarded. Nothing that was recorded is lost, whatever ends the recorder. Without a terminal, services
    of the node do what the keys do (docs/demonstrate.md).

    Then: swiftvla train OUT runs/mine

    Example: swiftvla demonstrate "pick up the red block" data/red --robot my_arm.yaml --drivers --teleop leader
    """
    from swiftvla_ros.bringup.processes import describe_demonstration, transport_environment
    from swiftvla_ros.bringup.supervisor import Supervisor
    from swiftvla_ros.cli.live.demonstration_desk import DemonstrationDesk
    from swiftvla_ros.cli.live.graph import LiveGraph
    from swiftvla_ros.cli.live.keys import Keys
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.episodes.quality.session_robot import check_same_robot
    from swiftvla_ros.episodes.session.session_folder import SessionFolder
    from swiftvla_ros.observation.observation import validate_instruction

    need("rclpy")
    check_same_robot(SessionFolder(out), load_contract(system["robot"]))
    processes = describe_demonstration(
        SystemOptions(**system),
        out,
        instruction=validate_instruction(instruction),
        episodes=episodes,
        reset_s=reset_time,
        longest_s=longest,
        operator=operator,
        jpeg_quality=jpeg_quality,
    )
    environment = transport_environment()
    os.environ.update(environment)
    log = out / "log.txt"
    console.print(f"starting {', '.join(p.name for p in processes)}; what they print is in {log}")
    with log.open("a", encoding="utf-8") as file:

        def write(name: str, line: str) -> None:
            file.write(f"[{name}] {line}\n")
            file.flush()

        supervisor = Supervisor(processes, on_line=write, on_event=lambda event: write("supervisor", event.text))
        thread = threading.Thread(target=supervisor.run, name="supervisor")
        thread.start()
        # A terminal that is closed, and `kill`, end the session as Ctrl-C does.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        try:
            with (
                LiveGraph(namespace=system["namespace"], check=lambda: _check(supervisor, log)) as graph,
                Keys() as keys,
            ):
                DemonstrationDesk(graph, keys).run()
        except KeyboardInterrupt:
            console.print("interrupted; an episode that was running is kept, unjudged")
            raise typer.Exit(130) from None
        finally:
            supervisor.request_stop()
            thread.join()
    console.print(f"{out}: then `swiftvla train {out} RUN`")


def _check(supervisor: Supervisor, log: Path) -> None:
    from swiftvla_ros.cli.live.graph import GraphError

    # Raised, not printed here: the view that is drawn once more would hide it.
    if supervisor.failure is not None:
        raise GraphError(f"{supervisor.failure.text}; an episode that was running is kept, unjudged ({log})")
