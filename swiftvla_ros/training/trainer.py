# SPDX-License-Identifier: Apache-2.0
"""The optimisation loop of both stages: one process per GPU, or one per CPU core with averaged gradients.

On CPUs, two processes of one thread train about 1.5 times as fast as one process of two threads, since most of a small
network's kernels are too short to share.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from swiftvla_ros.model import flow_matching
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA
from swiftvla_ros.policy.normalization import Normalizer
from swiftvla_ros.policy.torch_runtime import to_model_images
from swiftvla_ros.training.gauges import Listening, listening
from swiftvla_ros.training.samples import Batch, EpisodeSamples, SceneSamples
from swiftvla_ros.training.state import load_state, save_state


@dataclass(frozen=True)
class TrainOptions:
    """How to train; every field is an option of the command line.

    Attributes
    ----------
    steps
        Optimiser steps.
    batch
        Samples per step, over all processes.
    scene_share
        Share of grounding scenes in a batch: 1 is the grounding stage; in the policy stage a part keeps words alive.
    learning_rate, warmup_steps, weight_decay, clip_norm
        AdamW with linear warm-up and cosine decay to a fiftieth.
    noise_samples
        Noise samples and flow times per observation; they share the prefix, so more cost little.
    trajectory_weight, action_weight
        Weights of the two losses.
    average_decay
        Decay of the averaged weights that are validated and written.
    validate_every
        Steps between two validations (and states on disk).
    stop_when_listening
        End as soon as both gauges reach this share; None trains all steps.
    seed
        Draws samples, noise and augmentation.
    """

    steps: int
    batch: int = 64
    scene_share: float = 0.25
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    noise_samples: int = 4
    trajectory_weight: float = 0.5
    action_weight: float = 1.0
    average_decay: float = 0.99
    validate_every: int = 200
    stop_when_listening: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Data:
    """Training and held-out samples; ``episodes`` is None in the grounding stage."""

    episodes: EpisodeSamples | None
    held_out_episodes: EpisodeSamples | None
    scenes: SceneSamples
    held_out_scenes: SceneSamples
    state: Normalizer
    action: Normalizer | None


@dataclass(frozen=True)
class Report:
    """One line of progress; the validation fields are None between validations."""

    step: int
    steps: int
    seconds: float
    samples_per_s: float
    action_loss: float
    trajectory_loss: float
    validation_action_loss: float | None = None
    validation_trajectory_loss: float | None = None
    listening: Listening | None = None
    final: bool = False

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return dataclasses.asdict(self)


def listens(line: Report, bar: float) -> bool:
    """Whether both gauges of a validation reach ``bar``: the right block, and an answer that changes with the word."""
    gauges = line.listening
    if gauges is None:
        return False
    change = gauges.answers_change if math.isnan(gauges.chunks_change) else gauges.chunks_change
    return gauges.first_step_accuracy >= bar and change >= bar


class Trainer:
    """One process's share of a training run."""

    def __init__(
        self, model: SwiftVLA, data: Data, options: TrainOptions, device: torch.device, rank: int = 0, world: int = 1
    ) -> None:
        self.model = model.to(device)
        self.average = SwiftVLA(model.config).to(device)
        self.average.load_state_dict(model.state_dict())
        self.data, self.options, self.device, self.rank, self.world = data, options, device, rank, world
        self.grounding_only = data.episodes is None
        self.parameters: list[Tensor] = list(model.parameters())
        self.averages: list[Tensor] = list(self.average.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
            betas=(0.9, 0.95),
            foreach=True,
        )

    def run(self, state_folder: Path, report: Callable[[Report], None]) -> SwiftVLA:
        """Train to the end, resuming a state that lies in ``state_folder``.

        Returns
        -------
        SwiftVLA
            The averaged network.
        """
        facts = load_state(state_folder, self.model, self.average, self.optimizer) or {"step": 0, "seconds": 0.0}
        first, spent = int(facts["step"]), float(facts["seconds"])
        last = self.options.steps
        began = time.monotonic()
        for step in range(first, last):
            action, trajectory = self._step(step)
            done = step + 1
            validates = done % self.options.validate_every == 0 or done == last
            if self.rank != 0:
                if validates and self._agree_to_stop(stop=False):
                    break
                continue
            seconds = spent + time.monotonic() - began
            rate = (done - first) * self.options.batch / (time.monotonic() - began)
            line = Report(done, self.options.steps, seconds, rate, action, trajectory)
            if validates:
                line = self._validate(line)
                save_state(state_folder, self.model, self.average, self.optimizer, {"step": done, "seconds": seconds})
            bar = self.options.stop_when_listening
            stop = validates and self._agree_to_stop(bar is not None and listens(line, bar))
            report(dataclasses.replace(line, final=stop or done == last))
            if stop:
                break
        return self.average

    def _agree_to_stop(self, stop: bool) -> bool:
        """What rank 0 says, in all processes."""
        if self.world == 1:
            return stop
        flag = torch.tensor([int(stop)])
        dist.broadcast(flag, src=0)
        return bool(flag.item())

    def _step(self, step: int) -> tuple[float, float]:
        options = self.options
        # A step's draws depend on nothing but the seed, the step and the rank: a resumed run goes on as it would have.
        rng = np.random.default_rng((options.seed, step, self.rank))
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        count = options.batch // self.world
        scenes = count if self.data.episodes is None else round(count * options.scene_share)
        parts = [self.data.scenes.draw(scenes, rng)] if scenes else []
        if self.data.episodes is not None:
            parts.append(self.data.episodes.draw(count - scenes, rng))
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(step)
        action, trajectory = self._losses(self.model, Batch.join(parts), generator, augment=True)
        loss = options.trajectory_weight * trajectory
        if not self.grounding_only:
            loss = loss + options.action_weight * action
        loss.backward()
        self._average_gradients()
        torch.nn.utils.clip_grad_norm_(self.parameters, options.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        decay = min(options.average_decay, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.parameters, 1 - decay)
        return action.item(), trajectory.item()

    def _learning_rate(self, step: int) -> float:
        options = self.options
        if step < options.warmup_steps:
            return options.learning_rate * (step + 1) / options.warmup_steps
        progress = (step - options.warmup_steps) / max(1, options.steps - options.warmup_steps)
        return options.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))

    def _average_gradients(self) -> None:
        if self.world == 1:
            return
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def _losses(
        self, model: SwiftVLA, batch: Batch, generator: torch.Generator, *, augment: bool
    ) -> tuple[Tensor, Tensor]:
        device, options = self.device, self.options
        inputs = self.to_input(batch, generator if augment else None)
        uv = torch.from_numpy(batch.keypoint_uv).to(device)
        uv_valid = torch.from_numpy(batch.keypoint_valid).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            if self.data.action is None:
                _, keypoints = model.condition(inputs)
                entropy = model.trajectory_head.loss(keypoints, uv, uv_valid)
                return torch.zeros((), device=device), entropy.sum() / (entropy > 0).sum().clamp(min=1)
            actions = self._padded(self.data.action.normalize(batch.actions), model.config.action_dim)
            shape = (len(actions), options.noise_samples, model.config.horizon, model.config.action_dim)
            noise = torch.randn(shape, generator=generator, device=device)
            flow_time = flow_matching.sample_time(shape[:2], generator, device)
            losses, _ = model.compute_loss(
                inputs,
                actions,
                torch.from_numpy(batch.row_valid).to(device),
                uv,
                uv_valid,
                noise=noise,
                time=flow_time,
            )
        return losses.action, losses.trajectory

    def to_input(self, batch: Batch, generator: torch.Generator | None) -> ModelInput:
        """Normalise, pad and move a batch; with a generator, also augment it (light, colour cast, noise, state)."""
        device = self.device
        images = to_model_images(torch.from_numpy(batch.images).to(device))
        state = self._padded(self.data.state.normalize(batch.state), self.model.config.state_dim)
        if generator is not None:
            b, cams = images.shape[:2]
            # Per image: gain and offset of all channels, a small colour cast, pixel noise.
            gain = 1 + 0.2 * (torch.rand((b, cams, 1, 1, 1), generator=generator, device=device) - 0.5)
            cast = 0.1 * (torch.rand((b, cams, 3, 1, 1), generator=generator, device=device) - 0.5)
            light = 0.3 * (torch.rand((b, cams, 1, 1, 1), generator=generator, device=device) - 0.5)
            noise = 0.02 * torch.randn(images.shape[-2:], generator=generator, device=device)
            images = (images * gain + cast + light + noise).clamp(-1, 1)
            state = state + 0.02 * torch.randn(state.shape, generator=generator, device=device)
        width = max(len(t) for t in batch.tokens)
        text = torch.zeros((len(batch.tokens), width), dtype=torch.long)
        present = torch.zeros((len(batch.tokens), width), dtype=torch.bool)
        for row, tokens in enumerate(batch.tokens):
            text[row, : len(tokens)] = torch.from_numpy(tokens)
            present[row, : len(tokens)] = True
        return ModelInput(images, text.to(device), present.to(device), state)

    def _padded(self, values: NDArray[np.floating[Any]], width: int) -> Tensor:
        tensor = torch.from_numpy(np.asarray(values, np.float32)).to(self.device)
        return torch.nn.functional.pad(tensor, (0, width - tensor.shape[-1]))

    @torch.no_grad()
    def _validate(self, line: Report) -> Report:
        """Losses and gauges of the averaged network on held-out data, with noise that is the same every time."""
        model = self.average.eval()
        held_out = self.data.held_out_episodes
        losses: list[tuple[float, float]] = []
        for i in range(4):
            rng = np.random.default_rng((1, i))
            generator = torch.Generator(self.device).manual_seed(i)
            batch = (held_out or self.data.held_out_scenes).draw(self.options.batch, rng)
            action, trajectory = self._losses(model, batch, generator, augment=False)
            losses.append((action.item(), trajectory.item()))

        def goal_keypoint(batch: Batch) -> NDArray[np.float32]:
            _, keypoints = model.condition(self.to_input(batch, None))
            return keypoints.uv[:, 0].cpu().numpy()

        def chunk(batch: Batch) -> NDArray[np.float32]:
            shape = (len(batch.state), model.config.horizon, model.config.action_dim)
            actions = model.sample_actions(self.to_input(batch, None), torch.zeros(shape, device=self.device))
            assert self.data.action is not None
            return self.data.action.denormalize(actions[..., : batch.state.shape[1]].cpu().numpy()).astype(np.float32)

        mean = np.mean(losses, axis=0)
        return dataclasses.replace(
            line,
            validation_action_loss=None if self.grounding_only else float(mean[0]),
            validation_trajectory_loss=float(mean[1]),
            listening=listening(self.data.held_out_scenes, goal_keypoint, None if self.grounding_only else chunk),
        )


def run_distributed(
    make: Callable[[], tuple[SwiftVLA, Data]],
    options: TrainOptions,
    state_folder: Path,
    report: Callable[[Report], None],
    finish: Callable[[SwiftVLA], None],
    processes: int,
    device: str,
) -> None:
    """Train in one process on a GPU, or in forked ones on the CPU; ``report`` and ``finish`` run in rank 0.

    The data is loaded before forking, so that the processes share its memory.
    """
    if options.batch % processes:
        raise ValueError(f"--batch {options.batch} can't be shared by {processes} processes; write a multiple")
    model, data = make()
    if processes == 1 or device != "cpu":
        trainer = Trainer(model, data, options, torch.device(device))
        finish(trainer.run(state_folder, report))
        return
    rendezvous = state_folder / f"rendezvous{os.getpid()}"
    state_folder.mkdir(parents=True, exist_ok=True)

    def work(rank: int) -> None:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
        dist.init_process_group("gloo", init_method=f"file://{rendezvous.resolve()}", rank=rank, world_size=processes)
        trainer = Trainer(model, data, options, torch.device("cpu"), rank, processes)
        average = trainer.run(state_folder, report)
        if rank == 0:
            finish(average)
        dist.destroy_process_group()

    try:
        start_processes(work, nprocs=processes, start_method="fork")
    finally:
        rendezvous.unlink(missing_ok=True)


def build(config: SwiftVLAConfig, seed: int) -> SwiftVLA:
    """A network with random weights from ``seed``."""
    torch.manual_seed(seed)
    return SwiftVLA(config)
