# SPDX-License-Identifier: Apache-2.0
"""The optimisation loop of all stages, on Hugging Face accelerate: the same for one process, a CPU's and many GPUs'."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.objective import LOSSES, Auxiliary, Losses, Objective, TrainingSample
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA
from swiftvla_ros.policy.image_preprocessing import to_network_range
from swiftvla_ros.policy.normalization import Normalizer
from swiftvla_ros.training.batch_sampling import Augmentation, SampledBatch, draw_step
from swiftvla_ros.training.distributed import join_processes, run_processes
from swiftvla_ros.training.listening_metrics import Listening, listening
from swiftvla_ros.training.loop import TrainingLoop, TrainingRun, learning_rate
from swiftvla_ros.training.options import TrainOptions
from swiftvla_ros.training.report import ACTION_WITH_4D, Report, Validation
from swiftvla_ros.training.samples import Batch, EpisodeSamples, Labels, SceneSamples
from swiftvla_ros.training.shared_gradients import SharedGradients

# Frames from which the features' mean and deviation are taken.
_STATISTICS_FRAMES = 128
_VALIDATION_BATCHES = 4


@dataclass(frozen=True)
class Data:
    """Training and held-out samples; there are no episodes in the grounding stage, and no scenes on a real robot."""

    episodes: EpisodeSamples | None
    held_out_episodes: EpisodeSamples | None
    scenes: SceneSamples | None
    held_out_scenes: SceneSamples | None
    state: Normalizer
    action: Normalizer | None


class Trainer(TrainingLoop[Objective]):
    """The policy's training, and the grounding stage's."""

    def __init__(self, objective: Objective, data: Data, options: TrainOptions, device: str) -> None:
        config = objective.policy.config
        freeze(objective, options, grounding_only=data.episodes is None)
        if options.gradient_checkpointing:
            # Every transformer layer computes its activations again in the backward pass.
            objective.policy.backbone.checkpoint_layers = objective.policy.expert.checkpoint_layers = True
        # Without Fusion Tokens nothing reads the last text layer's output.
        accelerator = join_processes(device, options.precision, options.accumulate, find_unused=config.fusion is None)
        shares = accelerator.num_processes * options.accumulate
        if options.batch % shares:
            raise ValueError(
                f"--batch {options.batch} can't be shared by {accelerator.num_processes} processes in "
                f"{options.accumulate} micro-batches; write a multiple of {shares}"
            )
        super().__init__(objective, options, accelerator)
        self.config, self.data = config, data
        self._keep_target()
        self.stored = torch.optim.AdamW(
            self.trained, lr=options.learning_rate, weight_decay=options.weight_decay, betas=options.betas, fused=True
        )
        self.parallel, self.optimizer = accelerator.prepare(objective, self.stored)
        weights = [getattr(options.weights, name) for name in LOSSES]
        self.weights = torch.tensor(weights, device=self.device)
        self.shared = SharedGradients(objective, options, accelerator)

    def _keep_target(self) -> None:
        """Keep the start's vision tower where it is to be reconstructed and is trained; called before any step."""
        tower = self.objective.policy.backbone.vision_model
        trained = any(p.requires_grad for p in tower.parameters())
        if self.objective.auxiliary.reconstruct_2d is None or not trained:
            return
        kept = copy.deepcopy(tower).requires_grad_(False).eval()
        for objective in (self.objective, self.average):
            if objective is not None:
                objective.reconstruct_of(kept)

    def step(self, step: int) -> dict[str, float]:
        """Run one optimiser step and return the whole batch's losses by name."""
        options, accelerator = self.options, self.accelerator
        draws = draw_step(self.data.scenes, self.data.episodes, self.config, options, (options.seed, step), step=step)
        # Of the whole batch, which the first micro-batch's gradients need already.
        counts = self.objective.count(self._targets(draws))
        shares = accelerator.num_processes * options.accumulate
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, options)
        sums = torch.zeros(len(LOSSES), device=self.device)
        for micro in range(options.accumulate):
            sample = self._sample(draws.share(accelerator.process_index + micro * accelerator.num_processes, shares))
            with accelerator.accumulate(self.parallel):
                losses: Losses = self.parallel(sample)
                # Gradients are averaged over processes and micro-batches, but each holds its part of a sum.
                terms = losses.terms(self.weights, counts) * shares
                self.shared.look(step, terms)
                accelerator.backward(terms.sum())
                if accelerator.sync_gradients:
                    self.shared.restrain()
                    accelerator.clip_grad_norm_(self.parallel.parameters(), options.clip_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
            sums += losses.sums.detach()
        self.follow(step)
        return _means(accelerator.reduce(sums, reduction="sum"), counts)

    def gradients(self) -> dict[str, float] | None:
        """Each loss's gradient on the text layers, in steps where it is logged."""
        return self.shared.measured

    def _sample(self, draws: SampledBatch, *, held_out: bool = False) -> TrainingSample:
        """The samples that were drawn, as the objective reads them."""
        scenes, episodes = self._sources(held_out=held_out)
        parts = []
        if scenes is not None and len(draws.scenes):
            parts.append(scenes.take(draws.scenes, draws.instructions))
        if episodes is not None and len(draws.frames):
            parts.append(episodes.take(draws.frames))
        geometry = None
        if self.config.geometry is not None and episodes is not None:
            features = torch.from_numpy(episodes.geometry(draws.frames, draws.cache_steps)).to(self.device).float()
            geometry = torch.cat([features.new_zeros(len(draws.scenes), *features.shape[1:]), features])
        sample = self._targets(draws, held_out=held_out)
        return sample._replace(inputs=self._input(Batch.join(parts), draws.augmentation), geometry=geometry)

    def _targets(self, draws: SampledBatch, *, held_out: bool = False) -> TrainingSample:
        """The same without observations: enough to count what the losses are means over."""
        scenes, episodes = self._sources(held_out=held_out)
        parts = []
        if scenes is not None and len(draws.scenes):
            parts.append(scenes.labels(draws.scenes, draws.instructions))
        if episodes is not None and len(draws.frames):
            parts.append(episodes.labels(draws.frames))
        labels, device, nothing = Labels.join(parts), self.device, torch.empty(0)
        has_geometry = torch.zeros(len(draws), dtype=torch.bool)
        has_geometry[len(draws.scenes) :] = self.config.geometry is not None
        sample = training_sample(labels, draws, self.data.action, self.config, device)
        return sample._replace(
            geometry=nothing if self.config.geometry is not None else None, has_geometry=has_geometry.to(device)
        )

    def _sources(self, *, held_out: bool) -> tuple[SceneSamples | None, EpisodeSamples | None]:
        data = self.data
        return (data.held_out_scenes, data.held_out_episodes) if held_out else (data.scenes, data.episodes)

    def _input(self, batch: Batch, augmentation: Augmentation | None) -> ModelInput:
        """Normalise, pad and move a batch."""
        device = self.device
        images = torch.from_numpy(to_network_range(batch.images)).to(device)
        state = padded(self.data.state.normalize(batch.state), self.config.state_dim).to(device)
        if augmentation is not None:
            images, state = augmentation.apply(images, state)
        width = max(len(t) for t in batch.tokens)
        text = torch.zeros((len(batch.tokens), width), dtype=torch.long)
        present = torch.zeros((len(batch.tokens), width), dtype=torch.bool)
        for row, tokens in enumerate(batch.tokens):
            text[row, : len(tokens)] = torch.from_numpy(tokens)
            present[row, : len(tokens)] = True
        return ModelInput(images, text.to(device), present.to(device), state)

    @torch.no_grad()
    def prepare(self) -> None:
        """Take the statistics of frozen features that are targets from the training data, alike in every process."""
        auxiliary, episodes = self.objective.auxiliary, self.data.episodes
        if not auxiliary.needs_statistics or episodes is None:
            return
        rng = np.random.default_rng(self.options.seed)
        frames = episodes.frames
        if len(frames) > _STATISTICS_FRAMES:
            frames = rng.choice(frames, _STATISTICS_FRAMES, replace=False)
        vision = []
        # As many at a time as in a step, which is known to fit.
        for some in np.array_split(frames, math.ceil(len(frames) / self.options.batch)):
            images = self._input(episodes.take(some), None).images
            with self.accelerator.autocast():
                features = self.objective.policy.backbone.vision_features(images)
                vision.append(auxiliary.image_target(self.objective.target_features(images, features)).float())
        cache_steps = rng.choice(np.array(self.options.cache_steps), len(frames))
        geometry = torch.from_numpy(episodes.geometry(frames, cache_steps)).to(self.device)
        for module in (auxiliary, None if self.average is None else self.average.auxiliary):
            if module is not None:
                module.fit_standardizers(torch.cat(vision), geometry)

    @torch.no_grad()
    def validate(self, average: Objective) -> Validation:
        """Losses and gauges of the averaged network on held-out data, with noise that is the same every time."""
        with self.accelerator.autocast():
            losses = self._held_out_losses(average)
            scenes = self.data.held_out_scenes
            gauges = None if scenes is None or self.config.fusion is None else self._listening(average, scenes)
        return Validation(losses, gauges)

    def _held_out_losses(self, average: Objective) -> dict[str, float]:
        data = self.data
        episodes = data.held_out_episodes
        sums, with_4d = torch.zeros((2, 2, len(LOSSES)), device=self.device)
        for i in range(_VALIDATION_BATCHES):
            drawn = draw_step(
                data.held_out_scenes if episodes is None else None,
                episodes,
                self.config,
                self.options,
                (1, i),
                augment=False,
            )
            for part in range(self.options.accumulate):
                draws = drawn.share(part, self.options.accumulate)
                found = average(self._sample(draws.masked(image=False, geometry=True), held_out=True))
                sums += torch.stack([found.sums, found.counts])
                if average.auxiliary.geometry_proj is not None:
                    found = average(self._sample(draws.masked(image=False, geometry=False), held_out=True))
                    with_4d += torch.stack([found.sums, found.counts])
                if average.auxiliary.geometry_proj is not None and average.auxiliary.reconstruct_2d is not None:
                    found = average(self._sample(draws.masked(image=True, geometry=False), held_out=True))
                    image = LOSSES.index("reconstruct_2d")
                    sums[:, image] += torch.stack([found.sums[image], found.counts[image]])
        means, beside = _means(*sums), _means(*with_4d)
        return means | ({ACTION_WITH_4D: beside["action"]} if "action" in beside else {})

    def _listening(self, average: Objective, scenes: SceneSamples) -> Listening:
        policy, action, config = average.policy, self.data.action, self.config

        def goal_keypoint(batch: Batch) -> NDArray[np.float32]:
            inputs = self._input(batch, None)
            prefix = policy.embed_prefix(inputs, policy.backbone.vision_features(inputs.images))
            _, hidden = policy.condition(prefix)
            return average.auxiliary.keypoints(prefix, hidden).uv[:, 0].float().cpu().numpy()

        def chunk(batch: Batch) -> NDArray[np.float32]:
            shape = (len(batch.state), config.horizon, config.action_dim)
            actions = policy.sample_actions(self._input(batch, None), torch.zeros(shape, device=self.device))
            assert action is not None
            return action.denormalize(actions[..., : len(action.mean)].float().cpu().numpy()).astype(np.float32)

        return listening(scenes, goal_keypoint, None if action is None else chunk)


def _means(sums: Tensor, counts: Tensor) -> dict[str, float]:
    """The losses that were counted, by name."""
    means = (sums / counts.clamp(min=1)).tolist()
    return {name: mean for name, mean, count in zip(LOSSES, means, counts.tolist(), strict=True) if count}


def training_sample(
    labels: Labels, draws: SampledBatch, action: Normalizer | None, config: SwiftVLAConfig, device: torch.device
) -> TrainingSample:
    """What a batch is judged by, on ``device``: without observations and 4D features, which the caller adds."""
    nothing = torch.empty(0)
    actions = labels.actions if action is None else action.normalize(labels.actions)
    return TrainingSample(
        inputs=ModelInput(nothing, nothing, nothing, nothing),
        actions=padded(actions, config.action_dim).to(device),
        row_valid=torch.from_numpy(labels.row_valid).to(device),
        keypoint_uv=torch.from_numpy(labels.keypoint_uv).to(device),
        keypoint_valid=torch.from_numpy(labels.keypoint_valid).to(device),
        noise=draws.noise.to(device),
        time=draws.time.to(device),
        delay=draws.delay.to(device),
        geometry=None,
        has_geometry=torch.zeros(len(draws), dtype=torch.bool, device=device),
        mask_2d=torch.from_numpy(draws.mask_2d).to(device),
        mask_4d=torch.from_numpy(draws.mask_4d).to(device),
    )


def padded(values: NDArray[np.floating[Any]], width: int) -> Tensor:
    """Values [..., n] as float32 [..., width], with zeros behind."""
    tensor = torch.from_numpy(np.asarray(values, np.float32))
    return nn.functional.pad(tensor, (0, width - tensor.shape[-1]))


def freeze(objective: Objective, options: TrainOptions, *, grounding_only: bool) -> None:
    """Leave out of the training what the options say, and in the grounding stage what has nothing to learn there."""
    policy = objective.policy
    frozen: list[nn.Module] = []
    if options.frozen == "vision":
        frozen.append(policy.backbone.vision_model)
    elif options.frozen == "backbone":
        frozen.append(policy.backbone)
    if grounding_only:
        frozen += [policy.expert, policy.action_out_proj, *([policy.guide] if policy.guide is not None else [])]
    for module in frozen:
        module.requires_grad_(False)


def run_distributed(
    run: TrainingRun,
    make: Callable[[], tuple[Objective, Data]],
    report: Callable[[Report], None],
    finish: Callable[[Objective], None],
) -> None:
    """Train; ``report`` and ``finish`` run in the main process.

    Processes are forked after the data was loaded, so that they share its memory; with one, this process joins those
    that a launcher started, if any.
    """
    # OpenMP's threads would not survive the fork.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    objective, data = make()
    torch.set_num_threads(threads)

    def work() -> None:
        trainer = Trainer(objective, data, run.options, run.used_device)
        average = trainer.run(run.folder, report)
        if average is not None:
            finish(average)
        trainer.accelerator.wait_for_everyone()

    run_processes(work, run.used_processes, run.folder)


def build(config: SwiftVLAConfig, seed: int) -> Objective:
    """A network with random weights from ``seed``."""
    torch.manual_seed(seed)
    return Objective(SwiftVLA(config), Auxiliary(config))
