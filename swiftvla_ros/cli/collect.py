# SPDX-License-Identifier: Apache-2.0
"""``swiftvla collect``: demonstrations for training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from swiftvla_ros.cli.figures import JsonOption, refuse, write_json


def command(
    out: Annotated[Path, typer.Argument(help="Folder for the episodes; those that are there already are kept.")],
    episodes: Annotated[int, typer.Option(min=1, help="How many episodes the folder shall hold.")] = 500,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one per core.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed records the same episodes.")] = 0,
    robot: Annotated[str, typer.Option(help="The simulated robot's contract.")] = "so101_sim",
    json_file: JsonOption = None,
) -> None:
    """Record demonstrations of the scripted expert in simulation.

    Only episodes that succeeded are kept, one safetensors file each. Stop it with Ctrl-C whenever you like: the same
    command goes on where it stopped.

    Then: swiftvla train OUT
    """
    from dataclasses import asdict

    from swiftvla_ros.contract import ContractError, load_contract
    from swiftvla_ros.sim.collect import collect

    try:
        contract = load_contract(robot)
    except ContractError as error:
        refuse(error)
    report = collect(out, episodes, workers=workers or os.cpu_count() or 1, seed=seed, contract=contract)
    share = report.recorded / report.attempts if report.attempts else float("nan")
    print(
        f"{out}: {report.episodes} episodes, {report.recorded} recorded now in {report.seconds:.0f} s "
        f"({share:.1%} of {report.attempts} tries succeeded)"
    )
    write_json(json_file, asdict(report))
