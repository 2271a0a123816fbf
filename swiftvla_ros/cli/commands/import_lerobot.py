# SPDX-License-Identifier: Apache-2.0
"""``swiftvla import-lerobot``: what ``lerobot-train --policy.type=swiftvla`` wrote becomes a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(help="LeRobot's folder: config.json, model.safetensors, …")],
    out: Annotated[Path, typer.Argument(help="Folder of the checkpoint to write.")],
    robot: Annotated[
        str | None,
        typer.Option(help="Contract: a shipped name or a YAML file.", show_default="the one in the folder, if any"),
    ] = None,
) -> None:
    """Turn a SwiftVLA policy of LeRobot into a checkpoint that computes the same chunks.

    LeRobot's folder is the one called pretrained_model. It tells joints, cameras and units by the names that they had
    in the dataset; the contract's [bold]lerobot[/bold] section says which are the robot's.

    Then: swiftvla eval OUT
    """
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.training.importers.lerobot_policy import import_policy

    network = import_policy(folder, out, None if robot is None else load_contract(robot))
    geometry = "no 4D branch" if network.geometry is None else "a 4D branch beside"
    print(f"{out}: {network.num_cameras} cameras, chunks of {network.horizon} rows, {geometry}")
