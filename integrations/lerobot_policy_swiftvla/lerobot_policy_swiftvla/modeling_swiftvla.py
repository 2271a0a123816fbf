# SPDX-License-Identifier: Apache-2.0
"""``SwiftVLAPolicy``: our network and objective behind LeRobot's policy interface."""

from __future__ import annotations

import os
from collections import deque
from typing import Any

import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor, nn

from lerobot_policy_swiftvla.configuration_swiftvla import SwiftVLAConfig
from lerobot_policy_swiftvla.dataset_description import describe
from lerobot_policy_swiftvla.network_batch import Batch, BatchReader, GivenFrames
from swiftvla_ros.model.guidance import Guidance
from swiftvla_ros.model.objective import LOSSES
from swiftvla_ros.resources import model_path
from swiftvla_ros.training.batch_sampling import SampledBatch, draw_step
from swiftvla_ros.training.checkpoint_writer import load_start
from swiftvla_ros.training.trainer import build, freeze

_HELD_OUT = 1
"""Beside the step: the seed of what is drawn when the losses of held-out data are asked for."""


class SwiftVLAPolicy(PreTrainedPolicy):
    """SwiftVLA (arXiv 2512.00903): ``model.policy`` is the network that runs, ``model.auxiliary`` what trains it.

    ``dataset_meta`` is the metadata of the dataset to be trained on; without it the config tells names and statistics.
    """

    config_class = SwiftVLAConfig
    name = "swiftvla"
    steps: Tensor
    standardized: Tensor

    def __init__(self, config: SwiftVLAConfig, dataset_meta: Any = None, **_: Any) -> None:
        super().__init__(config)
        had_geometry = config.swiftvla.geometry is not None
        if dataset_meta is not None:
            describe(config, dataset_meta)
        config.validate_features()
        self.begins_stage = config.swiftvla.geometry is not None and not had_geometry
        self.model = build(config.swiftvla, config.seed)
        if config.init and not config.started:
            load_start(model_path(config.init), self.model)
        config.started = True
        freeze(self.model, config.train_options(1), grounding_only=False)
        # Optimiser steps, which with the seed decide all that is drawn, and whether the reconstruction's targets are
        # standardised: both go on where a training is resumed.
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("standardized", torch.zeros((), dtype=torch.bool))
        self.reader = BatchReader(config)
        self.reset()

    @classmethod
    def _load_as_safetensor(cls, model: Any, model_file: str, map_location: str, strict: bool) -> Any:
        loaded = super()._load_as_safetensor(model, model_file, map_location, strict)
        if loaded.begins_stage:
            loaded.steps.zero_()
        return loaded

    def get_optim_params(self) -> list[nn.Parameter]:
        """What is trained."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def reset(self) -> None:
        """Forget the rows that are left to execute."""
        self._left: deque[Tensor] = deque()

    def update(self) -> None:
        """Count an optimiser step; LeRobot calls it after each."""
        self.steps += 1

    def forward(self, batch: Batch, reduction: str = "mean") -> tuple[Tensor, dict[str, float]]:
        """Losses of a batch: their weighted sum, and each by its name."""
        if reduction != "mean":
            raise ValueError("losses of single samples: this policy's are means over rows, keypoints and samples")
        draws = self._draw(len(batch["action"]))
        sample = self.reader.sample(batch, draws)
        if self.training and not self.standardized and sample.geometry is not None:
            self._standardize(self.reader.inputs(batch).images, sample.geometry)
        losses = self.model(sample)
        weights = self.config.train_options(len(draws)).weights
        total = losses.total(torch.tensor([getattr(weights, name) for name in LOSSES], device=losses.sums.device))
        means = (losses.sums / losses.counts.clamp(min=1)).tolist()
        counted = zip(LOSSES, means, losses.counts.tolist(), strict=True)
        return total, {f"{name}_loss": mean for name, mean, count in counted if count}

    @torch.no_grad()
    def predict_action_chunk(
        self,
        batch: Batch,
        noise: Tensor | None = None,
        inference_delay: int | None = None,
        prev_chunk_left_over: Tensor | None = None,
        execution_horizon: int | None = None,
    ) -> Tensor:
        """Positions [b, H, J] in the dataset's units, a row a frame from now on.

        Parameters
        ----------
        batch
            What the preprocessor gave.
        noise
            The integration's start [b, H, A]; None: drawn, and scaled as the network was made for.
        inference_delay, prev_chunk_left_over, execution_horizon
            Of real-time chunking: how many rows will have been executed when this chunk arrives, the present plan from
            now on ([R, J] or [b, R, J], as this method returned it), and how many rows of it count.
        """
        self.eval()
        inputs, state = self.reader.inputs(batch), self.reader.raw_state(batch)
        network = self.reader.network
        if noise is None:
            shape = (len(state), network.horizon, network.action_dim)
            noise = torch.randn(shape, device=inputs.images.device) * network.noise_scale
        guidance = None
        if prev_chunk_left_over is not None:
            plan = _planned(prev_chunk_left_over.reshape(-1, *prev_chunk_left_over.shape[-2:]), execution_horizon)
            if len(plan[0]):
                guidance = self._guidance(plan, inference_delay or 0, state)
        return self.reader.positions(self.model.policy.sample_actions(inputs, noise, None, guidance), state)

    @torch.no_grad()
    def select_action(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """The next row [b, J]; a new chunk is computed when ``n_action_steps`` rows of the last are executed."""
        if not self._left:
            self._left.extend(self.predict_action_chunk(batch, noise).transpose(0, 1)[: self.config.n_action_steps])
        return self._left.popleft()

    def supports_rtc(self) -> bool:
        """Chunks can be made to continue what will have been executed."""
        return True

    def _guidance(self, plan: Tensor, delay: int, state: Any) -> Guidance:
        """Hold a chunk to the plan: with rows given as executed where the network was trained so."""
        rows, settings = self.reader.rows(plan, state), self.config.rtc_config
        overlap = min(plan.shape[1], self.reader.network.horizon)
        most = self.reader.network.max_delay_steps
        # Under inference mode, as LeRobot runs policies, there is no gradient through the denoiser.
        method, frozen = ("trained", min(delay, overlap, most)) if most else ("identity", min(delay, overlap))
        guidance = Guidance.over(method, rows, frozen, overlap)  # type: ignore[arg-type]  # a literal of two
        if settings is None:
            return guidance
        return Guidance(method, rows, guidance.executed, guidance.held, settings.max_guidance_weight)  # type: ignore[arg-type]

    def _draw(self, count: int) -> SampledBatch:
        """Noise, flow times, masks and augmentation, as ``swiftvla train`` draws them for the same step."""
        options, step, rank = self.config.train_options(count), int(self.steps), int(os.environ.get("RANK", "0"))
        if not self.training:
            draws = draw_step(
                None, GivenFrames(count), self.reader.network, options, (_HELD_OUT, rank), step=step, augment=False
            )
            return draws.masked(image=False, geometry=True)
        seed = (options.seed, step, rank) if rank else (options.seed, step)
        return draw_step(
            None, GivenFrames(count), self.reader.network, options, seed, step=step, augment=self.config.augment
        )

    @torch.no_grad()
    def _standardize(self, images: Tensor, geometry: Tensor) -> None:
        """Take the reconstruction targets' statistics from the first batch."""
        auxiliary = self.model.auxiliary
        if auxiliary.needs_statistics:
            features = self.model.policy.backbone.vision_features(images)
            auxiliary.fit_standardizers(auxiliary.image_target(features).float(), geometry)
        self.standardized.fill_(value=True)

    def _get_default_peft_targets(self) -> dict[str, Any]:
        """The expert's attention and what leads to it and from it, as LeRobot has them for SmolVLA."""
        ends = "state_proj|action_out_proj|expert\\.(action_in_proj|action_time_mlp_in|action_time_mlp_out)"
        return {
            "target_modules": rf"(model\.policy\.expert\.layers\..*\.(q|v)_proj|model\.policy\.({ends}))",
            "modules_to_save": [],
        }


def _planned(left_over: Tensor, execution_horizon: int | None) -> Tensor:
    """The rows of a plan [b, R, J]: LeRobot fills a plan that is too short up with zeros, which nobody commanded."""
    rows = left_over[:, : execution_horizon or left_over.shape[1]]
    commanded = (rows != 0).any(dim=-1).any(dim=0).nonzero()
    return rows[:, : int(commanded[-1]) + 1 if len(commanded) else 0]
