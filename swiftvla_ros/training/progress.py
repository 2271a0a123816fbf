# SPDX-License-Identifier: Apache-2.0
"""What a training run shows: a bar with rate, losses and ETA, one line for each validation, and a bar at its end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from swiftvla_ros.training.report import Report


class TrainingProgress:
    """A bar with the losses, and one line for each validation.

    The bar is started by the first report, since reports may come from a forked training process.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Progress | None = None
        self._envelope: Progress | None = None

    def report(self, line: Report) -> None:
        """Show one report."""
        if self._bar is None:
            self._bar = Progress(
                TextColumn(f"[bold]{self._title}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]:.0f} samples/s  {task.fields[losses]}"),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.add_task("", total=line.steps, rate=0.0, losses="")
            self._bar.start()
        losses = "  ".join(f"{name} {loss:.3f}" for name, loss in line.losses.items())
        self._bar.update(self._bar.task_ids[0], completed=line.step, rate=line.samples_per_s, losses=losses)
        if line.validation is not None:
            self._bar.console.print(validation_line(line))
        if line.final:
            self._bar.stop()

    def envelope(self, done: int, total: int) -> None:
        """Show on how many of the episodes the trained policy was watched, for its envelope; it can take minutes."""
        if self._envelope is None:
            self._envelope = Progress(
                TextColumn("[bold]envelope for monitors"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("episodes"),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._envelope.add_task("", total=total)
            self._envelope.start()
        self._envelope.update(self._envelope.task_ids[0], completed=done)
        if done == total:
            self._envelope.stop()


def validation_line(line: Report) -> str:
    """Held-out losses and both gauges in one line."""
    validation = line.validation
    assert validation is not None
    losses = ", ".join(f"{name.replace('_', ' ')} {loss:.4f}" for name, loss in validation.losses.items())
    parts = [f"step {line.step}", f"held-out losses: {losses}"]
    gauges = validation.listening
    if gauges is not None:
        parts.append(f"right block before the first motion {gauges.first_step_accuracy:.1%}")
        parts.append(f"answer changes with the colour word {gauges.answers_change:.1%}")
        if not math.isnan(gauges.chunks_change):
            parts.append(f"chunk changes with the colour word {gauges.chunks_change:.1%}")
    return " · ".join(parts)
