# SPDX-License-Identifier: Apache-2.0
"""``swiftvla check-motion``: did any command of a recorded run leave a limit or jump."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from swiftvla_ros.cli.bags import BagArgument, BagRobotOption, NamespaceOption, open_bag
from swiftvla_ros.cli.output import JsonOption, console, print_table, write_json

if TYPE_CHECKING:
    from swiftvla_ros.episodes.bags.bag import Bag
    from swiftvla_ros.motion import LimitReport


def command(
    bag: BagArgument,
    robot: BagRobotOption = None,
    namespace: NamespaceOption = None,
    json_file: JsonOption = None,
) -> None:
    """Check a bag: no command leaves a limit or jumps.

    Prints the worst ratio to each joint's position, velocity, acceleration and jerk limit; 1.00 is the limit itself.
    The commands are those that executor_state reports for each control tick. The exit code is 1 if a limit was passed.
    """
    report = check_bag(open_bag(bag, robot, namespace))
    print_report(report)
    write_json(json_file, {"bag": str(bag), **report.as_dict()})
    raise typer.Exit(0 if report.ok else 1)


def check_bag(bag: Bag) -> LimitReport:
    """Compare all commands of a bag with its contract's limits; raises BagError where it holds none."""
    import numpy as np

    from swiftvla_ros.motion import check_limits

    pieces, contract = bag.commands(), bag.contract
    return check_limits(
        np.concatenate([p.t_ns for p in pieces]),
        np.concatenate([p.positions for p in pieces]),
        contract.limits,
        contract.joint_names,
        tick_s=1 / contract.control.rate_hz,
        segments=np.repeat(np.arange(len(pieces)), [len(p.t_ns) for p in pieces]),
    )


def print_report(report: LimitReport) -> None:
    """Print the worst ratio per joint and limit, and what was passed."""
    from swiftvla_ros.motion.limit_check import LIMITS

    rows = zip(report.joint_names, report.ratios.T, strict=True)
    print_table(("worst ratio to limit", *LIMITS), ((name, *(f"{r:.2f}" for r in ratios)) for name, ratios in rows))
    for line in report.violations():
        console.print(line, style="red", markup=False)
    verdict = "[green]inside all limits[/]" if report.ok else "[red]a limit was passed[/]"
    console.print(f"{report.samples} commands, {report.gaps} gaps: {verdict}")
