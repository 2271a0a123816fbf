# SPDX-License-Identifier: Apache-2.0
"""Options of commands that simulate scenes."""

from __future__ import annotations

from typing import Annotated

import typer

StandsOption = Annotated[
    bool, typer.Option("--stands", help="Blocks on stands of random heights, a camera a little out of place.")
]
VariedOption = Annotated[
    bool,
    typer.Option("--varied", help="Light, table, other things and the camera's place differ from scene to scene."),
]
