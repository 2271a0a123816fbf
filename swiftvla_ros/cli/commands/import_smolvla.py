# SPDX-License-Identifier: Apache-2.0
"""``swiftvla import-smolvla``: a lerobot SmolVLA checkpoint becomes one that this package runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swiftvla_ros.cli.output import refuse
from swiftvla_ros.resources import model_path

_TOKENIZER = Path("models/smollm2-tokenizer/tokenizer.json")


def command(
    folder: Annotated[Path, typer.Argument(help="The lerobot checkpoint: config.json, model.safetensors, ….")],
    out: Annotated[Path, typer.Argument(help="Folder of the checkpoint to write.")],
    robot: Annotated[str, typer.Option(help="Contract: a shipped name or a YAML file.")],
    stats: Annotated[
        Path | None,
        typer.Option(help="The training dataset's meta/stats.json, for a checkpoint without statistics of its own."),
    ] = None,
    joints: Annotated[
        str | None,
        typer.Option(help="The joints in the order of lerobot's vectors: a,b,c.", show_default="the contract's order"),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="A camera feature of the policy that the robot doesn't have; repeatable.")
    ] = None,
    for_training: Annotated[
        bool,
        typer.Option("--for-training", help="Only a start for `swiftvla train`: the contract's images may be others."),
    ] = False,
    tokenizer: Annotated[Path, typer.Option(help="SmolVLM2's tokenizer.json.")] = _TOKENIZER,
) -> None:
    """Turn a lerobot SmolVLA checkpoint into a SwiftVLA checkpoint that computes the same chunks.

    Every tensor and every setting is accounted for: honoured, refused, or named as without effect. The contract's
    [bold]lerobot[/bold] key says which features are the robot's cameras and in which units its joints are there; its
    cameras have the size of the training images, which the policy pads by itself, and its step_s is their 1/fps.

    Statistics must be active: a checkpoint that lacks them is refused unless --stats gives them. The result runs
    wherever a checkpoint does: swiftvla up, swiftvla eval, the policy node; and it can be the start of a training.
    """
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.training.importers.smolvla import import_smolvla

    found = model_path(tokenizer)
    if not found.is_file():
        refuse(f"--tokenizer {tokenizer}: no such file; the package ships {_TOKENIZER}")
    imported = import_smolvla(
        folder,
        out,
        load_contract(robot),
        found.read_text(encoding="utf-8"),
        joint_order=joints.split(",") if joints else None,
        statistics=stats,
        without=without or (),
        for_training=for_training,
    )
    config = imported.config
    for note in imported.notes:
        print(f"* {note}")
    print(
        f"{out}: {config.text.num_layers} layers, cameras {', '.join(imported.camera_names)}, chunks of "
        f"{config.horizon} rows, {config.denoise_steps} denoising steps, absolute positions"
    )
