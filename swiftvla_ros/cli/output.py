# SPDX-License-Identifier: Apache-2.0
"""What all measuring commands share: the ``--json FILE`` option and how a refusal is shown."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the printed figures to this file, too.")
]


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """Write ``figures`` to ``path`` where one was given; a figure that is not finite becomes null."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_finite(figures), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def refuse(error: object) -> NoReturn:
    """Print ``error`` without a traceback and end with exit code 2: the input is wrong, not the program."""
    typer.secho(str(error), fg="red", err=True)
    raise typer.Exit(2)
