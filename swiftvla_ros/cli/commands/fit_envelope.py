# SPDX-License-Identifier: Apache-2.0
"""``swiftvla fit-envelope``: what a checkpoint's training data looks like, for the monitor that compares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swiftvla_ros.cli.bags import InstructionOption, NamespaceOption
from swiftvla_ros.cli.output import JsonOption, print_table, write_json
from swiftvla_ros.resources import DEFAULT_ROBOT, model_path


def command(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint's folder; it gets envelope.safetensors.")],
    episodes: Annotated[
        Path, typer.Argument(help="What it was trained on, or more of the same: as for `swiftvla train`.")
    ],
    robot: Annotated[str, typer.Option(help="Contract: a shipped name or a YAML file.")] = DEFAULT_ROBOT,
    namespace: NamespaceOption = None,
    instruction: InstructionOption = "",
    slow_per_hour: Annotated[
        float, typer.Option(min=0.001, help="Times an hour of motion that the arm may be slowed for nothing.")
    ] = 12.0,
    hold_per_hour: Annotated[
        float, typer.Option(min=0.001, help="Times an hour of motion that it may be held for nothing.")
    ] = 2.0,
    runtime: Annotated[str, typer.Option(help="What computes the network; auto: as the policy node.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json_file: JsonOption = None,
) -> None:
    """Write the envelope of a checkpoint that has none: what its training data looks like to it.

    `swiftvla train` does it at its end. Half of the episodes say what is usual, the other half where the bounds are.

    Then: swiftvla up --monitors envelope_monitor
    """
    from rich.progress import Progress

    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.episodes.datasets.sources import open_episodes
    from swiftvla_ros.monitoring.calibration import FalseAlarms
    from swiftvla_ros.monitoring.envelope_file import ENVELOPE
    from swiftvla_ros.policy import load_checkpoint
    from swiftvla_ros.policy.runtime import RuntimeOptions
    from swiftvla_ros.training.envelope_fit import fit_envelope

    contract, folder = load_contract(robot), model_path(checkpoint)
    policy = load_checkpoint(folder, contract, RuntimeOptions(runtime, device))
    found = open_episodes(episodes, contract, namespace=namespace, instruction=instruction)
    with Progress(transient=True) as bar:
        task = bar.add_task("episodes", total=None)
        envelope = fit_envelope(
            policy,
            folder,
            found,
            contract,
            episodes.name,
            alarms=FalseAlarms(slow_per_hour, hold_per_hour),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    bounds = envelope.bounds
    print_table(
        ("part", "slows from", "holds from"),
        [
            (part, f"{slow:.2f}", f"{hold:.2f}")
            for part, slow, hold in zip(envelope.parts, bounds.slow_at, bounds.hold_at, strict=True)
        ],
    )
    print(f"{folder / ENVELOPE}: bounds of {bounds.runs} held-out episodes, {60 * bounds.hours:.1f} min")
    figures = {"parts": list(envelope.parts), "slow_at": bounds.slow_at.tolist(), "hold_at": bounds.hold_at.tolist()}
    write_json(json_file, {"envelope": str(folder / ENVELOPE), "runs": bounds.runs, "hours": bounds.hours, **figures})
