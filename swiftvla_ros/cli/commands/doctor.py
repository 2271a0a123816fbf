# SPDX-License-Identifier: Apache-2.0
"""``swiftvla doctor``: what is wrong with this machine or the running system, and what mends it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from swiftvla_ros.bringup.processes import transport_environment
from swiftvla_ros.cli.output import JsonOption, console, write_json
from swiftvla_ros.cli.row_tables import print_sections
from swiftvla_ros.contract import load_contract
from swiftvla_ros.preflight.row import Row, report
from swiftvla_ros.resources import DEFAULT_ROBOT


def command(
    robot: Annotated[
        str | None, typer.Option(help="The robot's contract: a file or a name.", show_default="the running system's")
    ] = None,
    namespace: Annotated[str, typer.Option(help="ROS namespace of the system.")] = "",
    seconds: Annotated[float, typer.Option(min=1, max=600, help="How long to listen to the running system.")] = 5.0,
    json_file: JsonOption = None,
) -> None:
    """Check this machine and the running system, and name the fix for whatever is wrong.

    First the machine: versions, messages, network, shared memory, disk, GPU. Then what runs in this ROS domain: nodes,
    topics, types, QoS, rates, clocks, and who else commands the arm or tells where it is. It only listens: start it
    in the environment in which you start the rest.

    The exit code is 1 if a row is red.
    """
    from swiftvla_ros.doctor.here import check_here

    # As the nodes have it; what the machine is judged by stays what it was.
    environment = dict(os.environ)
    try:
        with console.status("looking at the machine") as status, tempfile.TemporaryDirectory() as folder:
            contract = load_contract(robot or DEFAULT_ROBOT)
            os.environ.update({**transport_environment(), "ROS_LOG_DIR": folder})
            sections, joins = check_here(contract, environment, Path(folder))
            sections["running system"] = (
                _look_at_the_graph(robot, namespace, seconds, status.update)
                if joins
                else [Row("graph", "skipped", "no node can be started here", "see ROS above")]
            )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    print_sections(sections)
    figures = report(sections)
    write_json(json_file, figures)
    raise typer.Exit(1 if figures["status"] == "fail" else 0)


def _look_at_the_graph(robot: str | None, namespace: str, seconds: float, tell: Callable[[str], None]) -> list[Row]:
    from swiftvla_ros.nodes.graph.listener import GraphListener
    from swiftvla_ros.preflight.nodes import check_graph, robot_of

    tell("looking for nodes")
    with GraphListener(namespace) as listener:
        nodes = listener.find_nodes()
        contract = load_contract(robot or robot_of(nodes, namespace) or DEFAULT_ROBOT)
        facts = listener.listen(
            contract, nodes, seconds, lambda part: tell(f"listening to the topics of {contract.robot}: {part:.0%}")
        )
    return check_graph(facts, contract)
