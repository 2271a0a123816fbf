# SPDX-License-Identifier: Apache-2.0
"""``swiftvla check-deploy``: whether graphs still do what their checkpoint does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swiftvla_ros.cli.deployments import (
    EvidenceOption,
    ObservationsOption,
    RolloutsOption,
    gather,
    show_checked,
    with_bar,
)
from swiftvla_ros.cli.output import JsonOption
from swiftvla_ros.extras import need
from swiftvla_ros.resources import model_path


def command(
    folder: Annotated[Path, typer.Argument(help="Folder that `swiftvla export` wrote.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="The checkpoint that it was exported from.", show_default="the folder, if it has weights"),
    ] = None,
    robot: Annotated[
        str | None, typer.Option(help="Contract: a shipped name or a YAML file.", show_default="the folder's own")
    ] = None,
    data: EvidenceOption = None,
    observations: ObservationsOption = 32,
    rollouts: RolloutsOption = 0,
    json_file: JsonOption = None,
) -> None:
    """Compare a deployed policy with its checkpoint on this machine, as its export did on another.

    A processor or a library of another version rounds otherwise. Printed is what differs, by stage and denoising step
    and in mrad; exit code 1 where a bound is broken.
    """
    need("torch", "openvino")
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.deploy.check import check

    found_folder = model_path(folder)
    contract = load_contract(robot or found_folder / "contract.yaml")
    with with_bar() as progress:
        found = check(
            found_folder, model_path(checkpoint) if checkpoint else found_folder, contract,
            gather(data, contract, observations), rollouts=rollouts, progress=progress,
        )  # fmt: skip
    show_checked(found, folder, json_file)
    raise typer.Exit(1 if found.problems else 0)
