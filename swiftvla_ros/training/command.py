# SPDX-License-Identifier: Apache-2.0
"""The options of policy training, for ``swiftvla train`` and ``accelerate launch -m swiftvla_ros.training`` alike.

Imports no torch at its top, so that ``--help`` is quick and works where torch is missing.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from swiftvla_ros.resources import DEFAULT_ROBOT, model_path
from swiftvla_ros.training.options import Frozen, LossWeights, MixedPrecision, TrainOptions

_WEIGHTS = LossWeights()


def scenes_folder(out: Path, scenes: int, scenes_dir: Path | None) -> Path | None:
    """Where a run's still scenes lie; None where it uses none."""
    return (scenes_dir or out / "training" / "scenes") if scenes else None


def command(
    episodes: Annotated[Path, typer.Argument(help="Bags, demonstrations of `swiftvla collect`, or LeRobotDataset v3.")],
    out: Annotated[Path, typer.Argument(help="Folder of the checkpoint to write.")],
    init: Annotated[
        Path,
        typer.Option(help="Checkpoint to start from: a grounded backbone, an imported SmolVLA, or stage 1's."),
    ] = Path("models/swiftvla-nano-grounding"),
    stage: Annotated[
        int,
        typer.Option(
            min=1,
            max=3,
            help="1: actions alone. 2: go on from stage 1, with 4D targets and a frozen vision tower. 3: the action "
            "expert of any policy learns to denoise in --flow-steps.",
        ),
    ] = 1,
    teacher_targets: Annotated[
        Path | None, typer.Option(help="4D features of the episodes (`swiftvla teacher-targets`), for stage 2.")
    ] = None,
    mask_4d: Annotated[float, typer.Option(min=0, max=1, help="Share of samples whose 4D input is masked.")] = 0.5,
    mask_2d: Annotated[float, typer.Option(min=0, max=1, help="Share of samples whose images are masked.")] = 0.2,
    mask_2d_ramp_steps: Annotated[int, typer.Option(help="Steps until images are masked as often.")] = 200,
    reconstruct: Annotated[bool, typer.Option(help="Whether the action expert reconstructs what is masked.")] = True,
    align_layer: Annotated[
        int,
        typer.Option(
            min=0,
            help="Text layer, from 1, whose image tokens are aligned with the 4D features (Spatial Forcing); with "
            "--mask-4d 1 --mask-2d 0 instead of 4D tokens. 0: none.",
        ),
    ] = 0,
    restrain_auxiliary: Annotated[
        bool,
        typer.Option(
            "--restrain-auxiliary",
            help="On the text layers auxiliary gradients lose what opposes the action's, and are capped at its norm.",
        ),
    ] = False,
    log_gradients_every: Annotated[
        int, typer.Option(min=0, help="Steps between two measurements of each loss's gradient, for the log; 0: none.")
    ] = 0,
    cache_steps: Annotated[
        str, typer.Option(metavar="K,K…", help="Temporal caches of the 4D features, one drawn for each sample.")
    ] = "3,4,5,6",
    flow_steps: Annotated[int, typer.Option(min=1, help="Denoising steps to reach in stage 3.")] = 1,
    preset: Annotated[
        str | None, typer.Option(help="Network to build and fill from --init; default: the network of --init.")
    ] = None,
    freeze: Annotated[
        Literal["auto", "nothing", "vision", "backbone"],
        typer.Option(help="What is not trained; auto: the vision tower in stage 2. Stage 3 trains the expert alone."),
    ] = "auto",
    robot: Annotated[str, typer.Option(help="Contract: a shipped name or a YAML file.")] = DEFAULT_ROBOT,
    instruction: Annotated[
        str, typer.Option(help="What was done in bags that a person drove, whatever they say themselves.")
    ] = "",
    namespace: Annotated[
        str | None,
        typer.Option(
            help="Of bags with several robots: the ROS namespace of the one that is meant; / is the root.",
            show_default="the only one",
        ),
    ] = None,
    scenes: Annotated[int, typer.Option(help="Still scenes mixed into the batches; 0: none.")] = 5_000,
    scenes_dir: Annotated[Path | None, typer.Option(help="Where they lie; default: OUT/training/scenes.")] = None,
    scene_share: Annotated[float, typer.Option(min=0, max=0.9, help="Share of still scenes in a batch.")] = 0.2,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 2000,
    batch: Annotated[int, typer.Option(help="Samples per step, over all processes.")] = 64,
    accumulate: Annotated[int, typer.Option(min=1, help="Micro-batches per step and process, to save memory.")] = 1,
    noise_samples: Annotated[int, typer.Option(min=1, help="Noisy chunks per observation.")] = 4,
    max_delay_steps: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Train for delays: in half of the noisy chunks, up to so many first rows are given as executed, which "
            "is what chunk guidance 'trained' needs (docs/guidance.md); default: as --init was trained.",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate; default: 1e-3 in stage 1, 5e-4 in the others.")
    ] = None,
    warmup_steps: Annotated[int, typer.Option(help="Steps until the peak learning rate.")] = 100,
    trajectory_weight: Annotated[float, typer.Option(help="Weight of the trajectory loss.")] = _WEIGHTS.trajectory,
    reconstruct_2d_weight: Annotated[float, typer.Option(help="Weight of L_2D.")] = _WEIGHTS.reconstruct_2d,
    reconstruct_4d_weight: Annotated[float, typer.Option(help="Weight of L_4D.")] = _WEIGHTS.reconstruct_4d,
    alignment_weight: Annotated[float, typer.Option(help="Weight of the alignment.")] = _WEIGHTS.alignment,
    validate_every: Annotated[int, typer.Option(help="Steps between validations and saved states.")] = 200,
    precision: Annotated[
        MixedPrecision, typer.Option(help="Mixed precision; no: float32; auto: bf16 where the processor multiplies it.")
    ] = "auto",
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, a third more work.")
    ] = False,
    envelope: Annotated[
        bool, typer.Option(help="Fit the envelope for monitors, too (docs/monitors.md); it takes minutes.")
    ] = True,
    processes: Annotated[
        int, typer.Option(help="Processes that are started on a CPU; 0: one per core. GPUs: use accelerate launch.")
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of new weights and of the samples.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the printed figures to this file, too.")
    ] = None,
) -> None:
    """Train a policy on demonstrations and write a checkpoint.

    Prints the held-out losses and two gauges at every validation: how often the right block is chosen before the first
    motion, and how often the colour word changes the chunk. A killed run goes on where it was when it is started again.

    Then: swiftvla eval OUT
    """
    if teacher_targets is not None and stage != 2:
        _refuse(
            f"--teacher-targets: stage {stage} trains without 4D features; write --stage 2, and --init with stage 1's "
            "OUT"
        )
    if align_layer and teacher_targets is None:
        _refuse("--align-layer: needs the features that are aligned with; add --stage 2 --teacher-targets FOLDER")
    if mask_4d + mask_2d > 1:
        _refuse(f"--mask-4d {mask_4d:g} --mask-2d {mask_2d:g}: no sample masks both, so together at most 1")
    if (log_gradients_every or restrain_auxiliary) and (stage == 3 or freeze == "backbone"):
        _refuse("--log-gradients-every, --restrain-auxiliary: look at the text layers, which are frozen here")
    if restrain_auxiliary and precision == "fp16":
        _refuse("--restrain-auxiliary: needs --precision bf16 or no, since fp16 scales gradients")
    try:
        caches = tuple(int(k) for k in cache_steps.split(","))
    except ValueError:
        _refuse(f"--cache-steps {cache_steps}: write numbers with commas between them, such as 3,4,5,6")
    automatic: Frozen = "vision" if stage == 2 else "nothing"
    options = TrainOptions(
        steps=steps,
        batch=batch,
        accumulate=accumulate,
        # Nobody acts in still scenes.
        scene_share=0.0 if stage == 3 else scene_share,
        learning_rate=learning_rate or (1e-3 if stage == 1 else 5e-4),
        warmup_steps=warmup_steps,
        noise_samples=noise_samples,
        weights=replace(
            _WEIGHTS,
            trajectory=trajectory_weight,
            reconstruct_2d=reconstruct_2d_weight,
            reconstruct_4d=reconstruct_4d_weight,
            alignment=alignment_weight,
        ),
        cache_steps=caches,
        frozen=automatic if freeze == "auto" else freeze,
        validate_every=validate_every,
        precision=precision,
        restrain_auxiliary=restrain_auxiliary,
        log_gradients_every=log_gradients_every,
        gradient_checkpointing=gradient_checkpointing,
        seed=seed,
    )
    from swiftvla_ros.contract import ContractError, load_contract
    from swiftvla_ros.episodes.datasets.store import EpisodeError
    from swiftvla_ros.episodes.teacher.targets import TargetsError
    from swiftvla_ros.model.config import GeometryBranchConfig
    from swiftvla_ros.policy import CheckpointError
    from swiftvla_ros.policy.normalization import StatisticsError
    from swiftvla_ros.training.loop import TrainingRun
    from swiftvla_ros.training.progress import TrainingProgress, validation_line
    from swiftvla_ros.training.stages import PolicyStart, train_policy

    def geometry(dim: int, tokens: int) -> GeometryBranchConfig:
        return GeometryBranchConfig(dim, tokens, mask_4d, mask_2d, mask_2d_ramp_steps, reconstruct, align_layer or None)

    progress = TrainingProgress(f"policy, stage {stage}")
    try:
        folder = scenes_folder(out, scenes, scenes_dir)
        run = TrainingRun(out, folder, load_contract(robot), options, processes, device)
        start = PolicyStart(
            episodes,
            model_path(init),
            preset,
            teacher_targets,
            geometry,
            max_delay_steps,
            namespace,
            instruction,
            flow_steps if stage == 3 else None,
        )
        result = train_policy(run, start, progress.report, progress.envelope if envelope else None)
    except (ContractError, EpisodeError, CheckpointError, StatisticsError, TargetsError) as error:
        _refuse(error)
    if int(os.environ.get("RANK", "0")) == 0:
        print(validation_line(result.last))
        print(f"{result.out}: {result.last.step} steps in {result.last.seconds:.0f} s")
        if json_file is not None:
            figures = {"out": str(result.out), **result.facts, **asdict(result.last)}
            json_file.parent.mkdir(parents=True, exist_ok=True)
            json_file.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _refuse(error: object) -> NoReturn:
    """Print ``error`` without a traceback and end with exit code 2: the input is wrong, not the program."""
    print(error, file=sys.stderr)
    raise typer.Exit(2)
