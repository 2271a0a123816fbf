# SPDX-License-Identifier: Apache-2.0
"""``swiftvla preflight``: everything that should hold before the arm moves, green, yellow or red."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Annotated, Any

import typer

from swiftvla_ros.bringup.processes import transport_environment
from swiftvla_ros.cli.output import JsonOption, console, refuse, write_json
from swiftvla_ros.cli.row_tables import print_sections
from swiftvla_ros.contract import load_contract
from swiftvla_ros.extras import need
from swiftvla_ros.preflight.row import Row, Status, report
from swiftvla_ros.resources import DEFAULT_ROBOT

_PATIENCE_S = 90.0
_STATUSES: tuple[Status, ...] = ("ok", "warning", "fail")


def command(
    robot: Annotated[
        str | None, typer.Option(help="The robot's contract: a file or a name.", show_default="the running system's")
    ] = None,
    namespace: Annotated[str, typer.Option(help="ROS namespace of the system.")] = "",
    seconds: Annotated[float, typer.Option(min=1, max=60, help="How long to listen to the running system.")] = 3.0,
    json_file: JsonOption = None,
) -> None:
    """Look at a running system before its arm moves, and name the fix for whatever is red or yellow.

    Names, order and units of the joints, cameras and their pictures, the checkpoint's statistics, hash and contract,
    where the arm stands beside where training had it, a first chunk on trial, limits, latency, time-outs, clocks, disk
    and a Jetson's power mode. Nothing moves.

    Where the system's own preflight_node runs, it makes the report, which also arms a robot whose contract says
    control.require_preflight; else this command looks by itself.

    The exit code is 1 if a row is red.
    """
    need("rclpy")
    try:
        with console.status("looking for nodes") as status, tempfile.TemporaryDirectory() as folder:
            os.environ.update({**transport_environment(), "ROS_LOG_DIR": os.environ.get("ROS_LOG_DIR", folder)})
            sections = _look(robot, namespace, seconds, status.update)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    print_sections(sections)
    figures = report(sections)
    write_json(json_file, figures)
    raise typer.Exit(1 if figures["status"] == "fail" else 0)


def _look(robot: str | None, namespace: str, seconds: float, tell: Callable[[str], None]) -> dict[str, list[Row]]:
    from swiftvla_ros.nodes.graph.listener import GraphListener
    from swiftvla_ros.nodes.graph.preflight_gathering import gather
    from swiftvla_ros.preflight.checks import check_everything
    from swiftvla_ros.preflight.graph import full_name
    from swiftvla_ros.preflight.nodes import robot_of

    with GraphListener(namespace) as listener:
        nodes = listener.find_nodes()
        node = nodes.get(full_name("preflight", namespace))
        if node is not None and node.state == "active" and robot is None:
            tell("the system's own preflight_node looks at it")
            return {"pre-flight": _ask(listener)}
    contract = load_contract(robot or robot_of(nodes, namespace) or DEFAULT_ROBOT)
    return check_everything(
        gather(contract, namespace, seconds, lambda part: tell(f"looking at {contract.robot}: {part:.0%}"))
    )


def _ask(listener: Any) -> list[Row]:
    """Have the node make a report, and read it."""
    from std_srvs.srv import Trigger

    from swiftvla_ros.msg import PreflightReport

    heard: list[Any] = []
    listener.hear(PreflightReport, "preflight", heard.append)
    answer = listener.call(Trigger, "preflight/check", Trigger.Request(), _PATIENCE_S)
    if answer is None:
        refuse(f"preflight/check does not answer within {_PATIENCE_S:g} s; look at preflight_node's log")
    # The report was published before the answer was given, by another way.
    listener.wait_for(lambda: bool(heard) and heard[-1].text == answer.message)
    if not heard:
        refuse(f"preflight/check: {answer.message}; and no report came on the topic preflight")
    told = heard[-1]
    return [
        Row(name, _STATUSES[status], finding, fix)
        for name, status, finding, fix in zip(told.rows, told.statuses, told.findings, told.fixes, strict=True)
    ]
