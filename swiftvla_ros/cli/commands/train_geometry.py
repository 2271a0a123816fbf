# SPDX-License-Identifier: Apache-2.0
"""``swiftvla train-geometry``: teach the small 4D geometry network depth and camera poses, in simulation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from swiftvla_ros.cli.output import JsonOption, refuse, write_json
from swiftvla_ros.resources import DEFAULT_ROBOT


def command(
    out: Annotated[Path, typer.Argument(help="Folder of the geometry checkpoint to write.")],
    robot: Annotated[str, typer.Option(help="The simulated robot's contract.")] = DEFAULT_ROBOT,
    sequences: Annotated[int, typer.Option(help="Sequences to render, some 10 a second.")] = 5000,
    sequences_dir: Annotated[
        Path | None, typer.Option(help="Where sequences lie or are rendered to; default: OUT/training/sequences.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 2800,
    batch: Annotated[int, typer.Option(help="Policy steps (of all cameras) per step.")] = 24,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-3,
    eval_only: Annotated[
        bool, typer.Option("--eval-only", help="Train nothing: measure the checkpoint that lies in OUT.")
    ] = False,
    processes: Annotated[int, typer.Option(help="Training processes on the CPU; 0: one per core.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of weights, samples and scenes.")] = 0,
    json_file: JsonOption = None,
) -> None:
    """Train geometry-nano on rendered sequences, whose depth and camera poses are known exactly.

    The result is the teacher of [bold]swiftvla teacher-targets[/bold]. Ends with its errors on held-out scenes, before
    and after training, beside predictors that never look at an image. A killed run goes on where it was when it is
    started again.

    Exits with code 1 unless the depth error over all views is at most half of the best such predictor's.
    """
    from swiftvla_ros.cli.allocator import faster_allocator

    faster_allocator()
    from swiftvla_ros.cluster.engine import on_this_machine
    from swiftvla_ros.cluster.runner import Runner
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.sim.data.geometry_sequences import render_sequences
    from swiftvla_ros.training.geometry.accuracy import margins, margins_line, table_lines
    from swiftvla_ros.training.geometry.trainer import GeometryRun, measure_checkpoint, train_geometry
    from swiftvla_ros.training.options import TrainOptions
    from swiftvla_ros.training.progress import TrainingProgress

    try:
        contract = load_contract(robot)
        folder = sequences_dir or out / "training" / "sequences"
        render_sequences(folder, sequences, runner=Runner(on_this_machine(processes)), seed=seed, contract=contract)
        options = TrainOptions(
            steps=steps, batch=batch, learning_rate=learning_rate, warmup_steps=25, betas=(0.9, 0.99), seed=seed,
            validate_every=100,
        )  # fmt: skip
        run = GeometryRun(out, folder, contract, options, processes=processes, device=device)
        table = measure_checkpoint(run) if eval_only else train_geometry(run, TrainingProgress("geometry").report)
    except ValueError as error:
        refuse(error)
    print("\n".join(table_lines(table)))
    print(f"{out}: {margins_line(table)}")
    times = margins(table)
    write_json(json_file, {"out": str(out), "margins": times, **{name: asdict(g) for name, g in table.items()}})
    if times["all views"] < 2:
        typer.secho("Less than twice: train longer (--steps) or on more scenes (--sequences).", fg="red", err=True)
        raise typer.Exit(1)
