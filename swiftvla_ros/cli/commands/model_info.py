# SPDX-License-Identifier: Apache-2.0
"""``swiftvla model-info``: how large a network is, part by part."""

from __future__ import annotations

from typing import Annotated

import typer

from swiftvla_ros.cli.output import JsonOption, refuse, write_json


def command(
    preset: Annotated[str, typer.Argument(help="swiftvla-450m (the paper's) or swiftvla-nano.")] = "swiftvla-450m",
    json_file: JsonOption = None,
) -> None:
    """Print the size of a network preset."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from swiftvla_ros.model.config import PRESETS
    from swiftvla_ros.model.parameter_count import count_parameters

    if preset not in PRESETS:
        refuse(f"preset '{preset}': unknown; write one of {sorted(PRESETS)}")
    counts = count_parameters(PRESETS[preset]())
    table = Table(preset, "parameters", "M", box=SIMPLE)
    for part, count in counts.items():
        table.add_row(part, f"{count:,}", f"{count / 1e6:.2f}")
    published = sum(n for part, n in counts.items() if not part.startswith(("fusion", "trajectory")))
    built = sum(n for part, n in counts.items() if not part.startswith("lm_head"))
    table.add_row("as published (SmolVLA's parts)", f"{published:,}", f"{published / 1e6:.2f}")
    table.add_row("as built", f"{built:,}", f"{built / 1e6:.2f}")
    Console(highlight=False).print(table)
    write_json(json_file, {"preset": preset, "parts": counts, "published": published, "built": built})
