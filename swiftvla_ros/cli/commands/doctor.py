# SPDX-License-Identifier: Apache-2.0
"""``swiftvla doctor``: what is wrong with this machine or the running system, and what mends it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from swiftvla_ros.bringup.processes import transport_environment
from swiftvla_ros.cli.output import JsonOption, console, write_json
from swiftvla_ros.contract import load_contract
from swiftvla_ros.preflight.row import Row, Status, report, worst
from swiftvla_ros.resources import DEFAULT_ROBOT

# How a row's status is shown: its colour, and the word for terminals and readers without colours.
_SHOWN: dict[Status, tuple[str, str]] = {
    "fail": ("red", "FAIL"),
    "warning": ("yellow", "warn"),
    "ok": ("green", "ok"),
    "skipped": ("dim", "skip"),
}
_STATUS_WIDTH = 4


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


def print_sections(sections: Mapping[str, Sequence[Row]]) -> None:
    """Print a table a section; the fix stands below what it mends."""
    width = max(len(check.name) for checks in sections.values() for check in checks)
    for title, checks in sections.items():
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(width=_STATUS_WIDTH, no_wrap=True)
        table.add_column(width=min(width, console.width // 3), overflow="fold")
        table.add_column(ratio=1)
        for check in checks:
            color, word = _SHOWN[check.status]
            finding = Text(check.finding)
            if check.fix and check.status != "ok":
                finding.append(f"\n→ {check.fix}", style="bold" if check.status == "fail" else "")
            table.add_row(Text(word, style=color), check.name, finding)
        console.print(Text(f"\n{title}", style="bold"))
        console.print(table)
    console.print(_closing(sections))


def _closing(sections: Mapping[str, Sequence[Row]]) -> Text:
    everything = [check for checks in sections.values() for check in checks]
    count = {status: sum(check.status == status for check in everything) for status in _SHOWN}
    color, _ = _SHOWN[worst(everything)]
    parts = [f"{count[status]} {_SHOWN[status][1]}" for status in _SHOWN if count[status]]
    return Text(f"\n{', '.join(parts)}", style=f"bold {color}")
