# SPDX-License-Identifier: Apache-2.0
"""``swiftvla pretrain-grounding``: teach the small backbone which word means which block, before any arm moves."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from swiftvla_ros.cli.output import JsonOption, refuse, write_json
from swiftvla_ros.resources import DEFAULT_ROBOT, model_path

_FULL_TOKENIZER = Path("models/smollm2-tokenizer/tokenizer.json")


def command(
    out: Annotated[Path, typer.Argument(help="Folder of the grounding checkpoint to write.")],
    robot: Annotated[str, typer.Option(help="The simulated robot's contract.")] = DEFAULT_ROBOT,
    scenes: Annotated[int, typer.Option(help="Still scenes to render, some 250 a second.")] = 10_000,
    scenes_dir: Annotated[
        Path | None, typer.Option(help="Where scenes lie or are rendered to; default: OUT/training/scenes.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps at most.")] = 900,
    stop_at: Annotated[
        float, typer.Option(min=0, max=1, help="End once both gauges reach this share; 0 trains all steps.")
    ] = 0.99,
    batch: Annotated[int, typer.Option(help="Samples per step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    tokenizer: Annotated[
        Path, typer.Option(help="The whole SmolLM2 tokenizer.json; the small network keeps its first ids.")
    ] = _FULL_TOKENIZER,
    processes: Annotated[int, typer.Option(help="Training processes on the CPU; 0: one per core.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of weights, samples and scenes.")] = 0,
    json_file: JsonOption = None,
) -> None:
    """Train the backbone to point at the block that an instruction means, in still scenes.

    A pretrained VLM already binds words to places; a network of a few million weights learns it here, in minutes. The
    result is the start of [bold]swiftvla train[/bold]. A killed run goes on where it was when it is started again.

    Exits with code 1 unless the block is found for 95 % of held-out instructions and every colour word changes the
    answer in 95 % of held-out scenes: a policy trained from less would not listen.
    """
    from swiftvla_ros.cli.allocator import faster_allocator

    faster_allocator()
    from swiftvla_ros.cli.still_scenes import render_still_scenes
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.training.loop import TrainingRun
    from swiftvla_ros.training.options import LossWeights, TrainOptions
    from swiftvla_ros.training.progress import TrainingProgress, validation_line
    from swiftvla_ros.training.stages import pretrain_grounding

    contract = load_contract(robot)
    found = model_path(tokenizer)
    if not found.is_file():
        refuse(f"--tokenizer {tokenizer}: no such file; the package ships {_FULL_TOKENIZER}")
    folder = scenes_dir or out / "training" / "scenes"
    workers = processes or os.cpu_count() or 1
    render_still_scenes(folder, scenes, workers=workers, seed=seed, contract=contract)
    options = TrainOptions(
        steps=steps, batch=batch, scene_share=1.0, learning_rate=learning_rate,
        weights=LossWeights(trajectory=1.0), seed=seed, validate_every=100, stop_when_listening=stop_at or None,
    )  # fmt: skip
    progress = TrainingProgress("grounding")
    run = TrainingRun(out, folder, contract, options, workers, device)
    result = pretrain_grounding(run, found.read_text(encoding="utf-8"), progress.report)
    print(validation_line(result.last))
    print(f"{result.out}: {result.last.step} steps in {result.last.seconds:.0f} s")
    write_json(json_file, {"out": str(result.out), **result.facts, **asdict(result.last)})
    if not result.listens():
        refuse("The gauges stay below 95 %: train longer (--steps) or on more scenes (--scenes).")
