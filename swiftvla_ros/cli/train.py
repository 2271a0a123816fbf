# SPDX-License-Identifier: Apache-2.0
"""``swiftvla train``: a policy from demonstrations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from swiftvla_ros.cli.figures import JsonOption, refuse


def command(
    episodes: Annotated[Path, typer.Argument(help="Folder of demonstrations (`swiftvla collect`).")],
    out: Annotated[Path, typer.Argument(help="Folder of the checkpoint to write.")],
    grounding: Annotated[Path, typer.Option(help="The grounded backbone to start from.")] = Path(
        "models/swiftvla-nano-grounding"
    ),
    robot: Annotated[str, typer.Option(help="Contract: a shipped name or a YAML file.")] = "so101_sim",
    scenes: Annotated[int, typer.Option(help="Still scenes mixed into the batches; rendered where missing.")] = 5_000,
    scenes_dir: Annotated[
        Path | None, typer.Option(help="Where scenes lie or are rendered to; default: OUT/training/scenes.")
    ] = None,
    scene_share: Annotated[float, typer.Option(min=0, max=0.9, help="Share of still scenes in a batch.")] = 0.2,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 2000,
    batch: Annotated[int, typer.Option(help="Samples per step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    validate_every: Annotated[int, typer.Option(help="Steps between validations and saved states.")] = 200,
    processes: Annotated[int, typer.Option(help="Training processes on the CPU; 0: one per core.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the action expert's weights and of the samples.")] = 0,
    json_file: JsonOption = None,
) -> None:
    """Train a policy on demonstrations, from a grounded backbone, and write a checkpoint.

    Prints the held-out losses and two gauges at every validation: how often the right block is chosen before the first
    motion, and how often the colour word changes the chunk. A killed run goes on where it was when it is started again.

    Then: swiftvla eval OUT
    """
    from swiftvla_ros.cli.training_progress import TrainingProgress, faster_allocator

    faster_allocator()
    from swiftvla_ros.contract import ContractError, load_contract
    from swiftvla_ros.episodes.store import EpisodeError
    from swiftvla_ros.policy import CheckpointError
    from swiftvla_ros.sim.scenes import render_scenes
    from swiftvla_ros.training.stages import StageRun, train_policy
    from swiftvla_ros.training.trainer import TrainOptions

    workers = processes or os.cpu_count() or 1
    options = TrainOptions(
        steps=steps, batch=batch, scene_share=scene_share, learning_rate=learning_rate, seed=seed,
        validate_every=validate_every,
    )  # fmt: skip
    progress = TrainingProgress("policy")
    try:
        contract = load_contract(robot)
        folder = scenes_dir or out / "training" / "scenes"
        render_scenes(folder, scenes, workers=workers, seed=seed, contract=contract)
        run = StageRun(out, folder, contract, options, workers, device)
        result = train_policy(run, episodes, grounding, progress.report)
    except (ContractError, EpisodeError, CheckpointError) as error:
        refuse(error)
    progress.summary(result, json_file)
