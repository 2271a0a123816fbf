# SPDX-License-Identifier: Apache-2.0
"""``swiftvla export``: a checkpoint becomes graphs that run without torch."""

from __future__ import annotations

from enum import Enum
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
from swiftvla_ros.cli.output import JsonOption, refuse
from swiftvla_ros.extras import need
from swiftvla_ros.resources import model_path


class Target(str, Enum):
    """Who shall run the graphs."""

    openvino = "openvino"
    onnx = "onnx"


def command(
    checkpoint: Annotated[Path, typer.Argument(help="The policy's checkpoint folder.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; the checkpoint's own, for graphs in ONNX beside it.")],
    runtime: Annotated[
        Target, typer.Option(help="Who runs them: openvino (CPUs), or onnx (OpenVINO and ONNX Runtime).")
    ] = Target.openvino,
    precision: Annotated[
        str,
        typer.Option(help="float32, float16, bfloat16, int8-vision or int8-weights (docs/performance.md)."),
    ] = "float32",
    robot: Annotated[
        str | None, typer.Option(help="Contract: a shipped name or a YAML file.", show_default="the checkpoint's own")
    ] = None,
    data: EvidenceOption = None,
    observations: ObservationsOption = 32,
    rollouts: RolloutsOption = 0,
    json_file: JsonOption = None,
) -> None:
    """Export a policy to graphs that run without torch, faster and in less memory.

    The network becomes three graphs (vision, prefix, step) in a folder that is used like a checkpoint: swiftvla up
    --checkpoint OUT, or the policy node's parameter. Before the folder appears its graphs must pass a gate: every
    stage, every denoising step and whole chunks are compared with torch in float32, on recorded observations or fresh
    scenes, at the longest text; the precision is counted in the graphs themselves. OUT is not written where one fails.

    First steps:

    - swiftvla export models/swiftvla-nano-so101 runs/nano-openvino

    - half the memory where the CPU multiplies bfloat16: --precision bfloat16

    - a robot's own data for calibration and gate: --data BAG, or a folder of episodes
    """
    need("torch", "onnx", "onnxscript", "openvino")
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.deploy.check import export
    from swiftvla_ros.deploy.export import PRECISIONS

    known = PRECISIONS[runtime.value]
    if precision not in known:
        refuse(f"--precision {precision}: graphs for {runtime.value} are exported at {', '.join(known)}")
    folder = model_path(checkpoint)
    contract = load_contract(robot or folder / "contract.yaml")
    with with_bar() as progress:
        found = export(
            folder, out, contract, runtime.value, precision, gather(data, contract, observations),
            rollouts=rollouts, progress=progress,
        )  # fmt: skip
    show_checked(found, out, json_file)
