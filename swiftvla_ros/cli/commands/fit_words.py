# SPDX-License-Identifier: Apache-2.0
"""``swiftvla fit-words``: a checkpoint of the simulator's tasks learns what other words mean."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from swiftvla_ros.cli.output import JsonOption, write_json
from swiftvla_ros.resources import model_path


def command(
    checkpoint: Annotated[Path, typer.Argument(help="The policy's checkpoint folder; words.safetensors is written.")],
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", help="A task that it was trained on; again for more.", show_default="pick, touch"),
    ] = None,
    vectors: Annotated[
        Path, typer.Option(help="Folder of the words' vectors (`swiftvla import-word-vectors`).")
    ] = Path("models/word-vectors"),
    sentences: Annotated[int, typer.Option(min=100, help="Sentences to draw from the grammar.")] = 100_000,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 2000,
    processes: Annotated[int, typer.Option(min=0, help="Networks trained at the same time; 0: one per core.")] = 0,
    seed: Annotated[int, typer.Option(help="Draws sentences, weights and noise.")] = 0,
    json_file: JsonOption = None,
) -> None:
    """Teach a checkpoint of the simulator's tasks to read other wordings than its own, and to say what it can't read.

    What is read is turned into a sentence that the policy was trained on; what means none of them is not understood,
    and nothing moves. The policy itself stays as it is.

    Then: swiftvla eval CHECKPOINT --wordings held-out
    """
    from rich.progress import Progress

    from swiftvla_ros.policy.checkpoint import open_checkpoint
    from swiftvla_ros.sim.tasks.registry import STANDARD_VERBS, tasks_of
    from swiftvla_ros.sim.wording.sentences import known_to, sentences_of, training_sentences
    from swiftvla_ros.training.words.fit import FitOptions, fit_words
    from swiftvla_ros.training.words.vectors import read_vectors

    folder = model_path(checkpoint)
    open_checkpoint(folder)
    asked = tasks_of(tasks or STANDARD_VERBS)
    table = read_vectors(model_path(vectors))
    began = time.monotonic()
    said, unseen = training_sentences(asked, table.words, sentences, seed)
    made_from = f"{sentences} sentences of the grammar, seed {seed}, {steps} steps"
    with Progress() as bar:
        options = FitOptions(steps=steps, seed=seed, processes=processes or os.cpu_count() or 1)
        shown = bar.add_task("fitting", total=2 * steps * options.members)

        def tell(step: int, loss: float) -> None:
            bar.update(
                shown, completed=step, description="fitting" if math.isnan(loss) else f"fitting, loss {loss:.3f}"
            )

        head = fit_words(
            folder,
            sentences_of(asked),
            known_to(asked),
            said,
            unseen,
            table,
            made_from,
            options,
            tell,
        )
    print(f"{folder}: understood from {head.bound:.0%} on; of sentences with parts that weren't trained on:")
    for what, share in head.calibration.items():
        print(f"  {what}: {share:.1%}" if what != "sentences" else f"  {what}: {share:.0f}")
    seconds = time.monotonic() - began
    print(f"{seconds:.0f} s")
    write_json(
        json_file, {"bound": head.bound, "temperature": head.temperature, **head.calibration, "seconds": seconds}
    )
