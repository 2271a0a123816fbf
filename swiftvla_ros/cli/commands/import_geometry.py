# SPDX-License-Identifier: Apache-2.0
"""``swiftvla import-geometry``: public StreamVGGT or VGGT weights become a geometry checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def command(
    weights: Annotated[Path, typer.Argument(help="The published weights as .safetensors.")],
    out: Annotated[Path, typer.Argument(help="Folder of the geometry checkpoint to write.")],
    kind: Annotated[
        Literal["streamvggt", "vggt"],
        typer.Option(help="streamvggt sees the past only and streams; vggt sees all frames at once and can't."),
    ] = "streamvggt",
) -> None:
    """Turn StreamVGGT's or VGGT's published weights into a geometry checkpoint, the teacher of a full-size policy.

    Every tensor is accounted for; one that is missing, unknown or of another shape is named. The weights are not part
    of this package and have licences of their own (StreamVGGT: CC BY-NC-SA 4.0).

    Then: swiftvla teacher-targets EPISODES --geometry OUT
    """
    from swiftvla_ros.geometry.importer import import_weights

    report = import_weights(weights, out, causal=kind == "streamvggt")
    print(f"{out}: {len(report.imported)} tensors; left out, having no use here: {len(report.unused)}")
