# SPDX-License-Identifier: Apache-2.0
"""``swiftvla model-info``: how large a network is, part by part."""

from __future__ import annotations

from typing import Annotated

import typer

from swiftvla_ros.cli.output import JsonOption, print_table, refuse, write_json


def command(
    preset: Annotated[str, typer.Argument(help="swiftvla-450m (the paper's) or swiftvla-nano.")] = "swiftvla-450m",
    json_file: JsonOption = None,
) -> None:
    """Print the size of a network preset."""
    from swiftvla_ros.model.config import PRESETS
    from swiftvla_ros.model.parameter_count import count_parameters

    if preset not in PRESETS:
        refuse(f"preset '{preset}': unknown; write one of {sorted(PRESETS)}")
    counts = count_parameters(PRESETS[preset]())
    published = sum(n for part, n in counts.items() if not part.startswith(("fusion", "trajectory")))
    built = sum(n for part, n in counts.items() if not part.startswith("lm_head"))
    sizes = counts | {"as published (SmolVLA's parts)": published, "as built": built}
    print_table((preset, "parameters", "M"), ((part, f"{n:,}", f"{n / 1e6:.2f}") for part, n in sizes.items()))
    write_json(json_file, {"preset": preset, "parts": counts, "published": published, "built": built})
