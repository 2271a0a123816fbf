# SPDX-License-Identifier: Apache-2.0
"""What all trainings share: what one is run with, and the loop of steps, validations and states on disk."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from swiftvla_ros.contract import Contract
from swiftvla_ros.policy.checkpoint import CheckpointError
from swiftvla_ros.training.options import TrainOptions
from swiftvla_ros.training.report import Report, Validation, listens
from swiftvla_ros.training.resume_state import load_state, save_state

# Share of the files that is held out for validation.
_HELD_OUT = 0.05
# A line of JSON for each step, in OUT/training.
LOSSES_FILE = "losses.jsonl"

Network = TypeVar("Network", bound=nn.Module)
File = TypeVar("File")


@dataclass(frozen=True)
class TrainingRun:
    """What a network is trained with."""

    out: Path  # the checkpoint folder; the training state lies in its `training` folder until it is done
    # Folder of grounding scenes or geometry sequences; None trains without (a real robot has none).
    rendered: Path | None
    contract: Contract  # the robot
    options: TrainOptions  # how to train
    # Processes that are forked on a CPU; 0 is one per core, 1 forks none and joins those of a launcher.
    processes: int = 0
    device: str = "auto"  # "auto", "cpu" or "cuda"

    @property
    def used_device(self) -> str:
        """What "auto" comes to here."""
        return self.device if self.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def used_processes(self) -> int:
        """How many are started; a launcher's are not counted."""
        return 1 if self.used_device != "cpu" else self.processes or os.cpu_count() or 1

    @property
    def folder(self) -> Path:
        """Where state, losses and result lie."""
        return self.out / "training"

    @property
    def result_file(self) -> Path:
        """There when the checkpoint is finished."""
        return self.folder / "result.json"

    def begin(self) -> None:
        """Make the folder; raises CheckpointError where a finished checkpoint lies in it."""
        if self.result_file.is_file():
            raise CheckpointError(f"{self.out}: holds a finished checkpoint; choose another folder, or delete this one")
        self.folder.mkdir(parents=True, exist_ok=True)

    def log(self, line: Report) -> None:
        """Append a line to the losses; a step that was run again after a kill is there twice."""
        with (self.folder / LOSSES_FILE).open("a") as file:
            file.write(json.dumps(asdict(line)) + "\n")


class TrainingLoop(ABC, Generic[Network]):
    """One process's share of a training; only the main process keeps averaged weights, validates and writes."""

    # The network as processes share it, and the optimiser whose state is stored.
    parallel: nn.Module
    stored: torch.optim.Optimizer

    def __init__(self, objective: Network, options: TrainOptions, accelerator: Accelerator) -> None:
        self.accelerator, self.options = accelerator, options
        self.device: torch.device = accelerator.device
        self.objective = objective.to(self.device)
        self.average = copy.deepcopy(self.objective).eval() if accelerator.is_main_process else None
        self.trained = _trained(self.objective)
        self._averages = [] if self.average is None else _trained(self.average)

    @abstractmethod
    def step(self, step: int) -> dict[str, float]:
        """Run one optimiser step and return the whole batch's losses by name."""

    @abstractmethod
    def validate(self, average: Network) -> Validation:
        """Look at the averaged network on held-out data."""

    def gradients(self) -> dict[str, float] | None:
        """What was measured of the last step's gradients."""
        return None

    def prepare(self) -> None:
        """What a training that resumes none does before its first step."""
        return

    def run(self, state_folder: Path, report: Callable[[Report], None]) -> Network | None:
        """Train to the end, resuming a state that lies in ``state_folder``; return the averaged network."""
        scaler = self.accelerator.scaler
        facts = load_state(state_folder, self.objective, self.average, self.stored)
        if facts is None:
            facts = {"step": 0, "seconds": 0.0}
            self.prepare()
        elif scaler is not None:
            scaler.load_state_dict(facts["scaler"])
        first, spent = int(facts["step"]), float(facts["seconds"])
        last, bar = self.options.steps, self.options.stop_when_listening
        # The averaged copy is what is validated, so this stays as it is.
        self.parallel.train()
        began = time.monotonic()
        for step in range(first, last):
            losses = self.step(step)
            done = step + 1
            validates = done % self.options.validate_every == 0 or done == last
            stop = False
            if self.average is not None:
                seconds = spent + time.monotonic() - began
                rate = (done - first) * self.options.batch / (time.monotonic() - began)
                line = Report(done, last, seconds, rate, losses, gradients=self.gradients())
                if validates:
                    line = dataclasses.replace(line, validation=self.validate(self.average))
                    facts = {"step": done, "seconds": seconds}
                    facts |= {} if scaler is None else {"scaler": scaler.state_dict()}
                    save_state(state_folder, self.objective, self.average, self.stored, facts)
                    stop = bar is not None and listens(line, bar)
                report(dataclasses.replace(line, final=stop or done == last))
            if validates and self._agree(stop):
                break
        return self.average

    def follow(self, step: int) -> None:
        """Let the averaged weights follow those of an optimiser step."""
        if self.average is not None:
            decay = min(self.options.average_decay, (step + 1) / (step + 10))
            with torch.no_grad():
                torch._foreach_lerp_(self._averages, self.trained, 1 - decay)

    def _agree(self, stop: bool) -> bool:
        """What the main process says, in all processes."""
        flag = torch.tensor([int(stop)], device=self.device)
        return bool(self.accelerator.reduce(flag, reduction="sum").item())


def learning_rate(step: int, options: TrainOptions) -> float:
    """Linear warm-up, then cosine decay to a fiftieth."""
    if step < options.warmup_steps:
        return options.learning_rate * (step + 1) / options.warmup_steps
    progress = (step - options.warmup_steps) / max(1, options.steps - options.warmup_steps)
    return options.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def hold_out(files: Sequence[File]) -> tuple[Sequence[File], Sequence[File]]:
    """Files to train on, and the last ones for validation.

    Files lie in the order of recording, where one layout is shown for several instructions: cut, don't shuffle.
    """
    cut = max(1, round(len(files) * (1 - _HELD_OUT)))
    return files[:cut], files[cut:] or files[-1:]


def _trained(network: nn.Module) -> list[Tensor]:
    return [p for p in network.parameters() if p.requires_grad]
