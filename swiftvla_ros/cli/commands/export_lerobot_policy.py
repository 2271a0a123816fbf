# SPDX-License-Identifier: Apache-2.0
"""``swiftvla export-lerobot-policy``: a checkpoint as a folder that LeRobot loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swiftvla_ros.resources import model_path


def command(
    checkpoint: Annotated[Path, typer.Argument(help="The policy's checkpoint folder.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist yet.")],
) -> None:
    """Write a checkpoint as a folder that LeRobot loads, where lerobot_policy_swiftvla is installed.

    lerobot-eval, lerobot-record and lerobot-train take it by --policy.path=OUT. What comes out has the units and names
    of the contract's [bold]lerobot[/bold] section. swiftvla import-lerobot is the way back: nothing is lost.
    """
    from swiftvla_ros.training.importers.lerobot_policy import export_policy

    export_policy(model_path(checkpoint), out)
    print(f"{out}: lerobot-eval --policy.path={out} --env.type=swiftvla")
