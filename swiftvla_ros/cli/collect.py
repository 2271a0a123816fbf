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
    stands: Annotated[
        bool, typer.Option("--stands", help="Blocks on stands of random heights, a camera a little out of place.")
    ] = False,
    pilot: Annotated[
        Path | None, typer.Option(help="A checkpoint that drives first; the expert shows how to go on from there.")
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Record demonstrations of the scripted expert in simulation.

    Only episodes that succeeded are kept, one safetensors file each. Stop it with Ctrl-C whenever you like: the same
    command goes on where it stopped.

    Then: swiftvla train OUT
    """
    from dataclasses import asdict

    from swiftvla_ros.contract import ContractError, load_contract
    from swiftvla_ros.policy import CheckpointError
    from swiftvla_ros.policy.checkpoint import check_against_contract, open_checkpoint
    from swiftvla_ros.sim.collect import collect

    try:
        contract = load_contract(robot)
        if pilot is not None:
            check_against_contract(open_checkpoint(pilot), contract)
    except (ContractError, CheckpointError) as error:
        refuse(error)
    processes = workers or os.cpu_count() or 1
    report = collect(out, episodes, workers=processes, seed=seed, contract=contract, pilot=pilot, stands=stands)
    share = report.recorded / report.attempts if report.attempts else float("nan")
    print(
        f"{out}: {report.episodes} episodes, {report.recorded} recorded now in {report.seconds:.0f} s "
        f"({share:.1%} of {report.attempts} tries succeeded)"
    )
    write_json(json_file, asdict(report))
