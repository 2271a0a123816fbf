# SPDX-License-Identifier: Apache-2.0
"""Options of commands that simulate scenes."""

from __future__ import annotations

from typing import Annotated

import typer

from swiftvla_ros.bringup.system_options import SystemOptions, options_of

SceneOption = Annotated[
    str | None,
    typer.Option(help=options_of(SystemOptions, ["scene"])[0].help, show_default="the tasks' own, else table"),
]
VariedOption = Annotated[
    bool,
    typer.Option("--varied", help="Light, table, other things and the camera's place differ from scene to scene."),
]
