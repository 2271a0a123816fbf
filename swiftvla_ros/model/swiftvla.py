# SPDX-License-Identifier: Apache-2.0
"""SwiftVLA (arXiv 2512.00903): prefix, losses and sampling."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from swiftvla_ros.model import flow_matching
from swiftvla_ros.model.attention import KeyValue
from swiftvla_ros.model.backbone import Backbone
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.expert import ActionExpert
from swiftvla_ros.model.fusion import FusionTokens, KeypointGuide, Keypoints, TrajectoryHead
from swiftvla_ros.model.prefix import Modality, Prefix, concatenate


class ModelInput(NamedTuple):
    """What the network reads: images in [-1, 1], token ids with their mask, normalised state."""

    images: Float[Tensor, "b cams 3 h w"]
    text: Int[Tensor, "b n"]
    text_present: Bool[Tensor, "b n"]
    state: Float[Tensor, "b s"]


class Condition(NamedTuple):
    """All that the action expert needs of the prefix; computed once per chunk."""

    key_values: list[KeyValue]
    present: Bool[Tensor, "b n"]
    guide: Float[Tensor, "b d"] | None


class Losses(NamedTuple):
    """Losses of one batch (paper, eq. 6 and 8), each a mean over what is valid."""

    action: Float[Tensor, ""]
    trajectory: Float[Tensor, ""]


class SwiftVLA(nn.Module):
    """The network, in the form that is deployed plus the trajectory head that trains it."""

    def __init__(self, config: SwiftVLAConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.state_proj = nn.Linear(config.state_dim, config.text.hidden_size)
        self.fusion = FusionTokens(config)
        self.expert = ActionExpert(config)
        self.action_out_proj = nn.Linear(config.expert.hidden_size, config.action_dim)
        self.trajectory_head = TrajectoryHead(config)
        self.guide = KeypointGuide(config) if config.fusion.guides_expert else None

    def embed_prefix(self, inputs: ModelInput) -> Prefix:
        """Tokens of all modalities in their order: 2D, (4D,) text, state, fusion."""
        images = self.backbone.embed_images(inputs.images)
        b = images.shape[0]
        state = self.state_proj(inputs.state)[:, None].to(images.dtype)
        fusion = self.fusion(b).to(images.dtype)

        def all_present(x: Tensor) -> Tensor:
            return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)

        return concatenate(
            [
                (Modality.IMAGE, images, all_present(images)),
                (Modality.TEXT, self.backbone.embed_text(inputs.text).to(images.dtype), inputs.text_present),
                (Modality.STATE, state, all_present(state)),
                (Modality.FUSION, fusion, all_present(fusion)),
            ]
        )

    def condition(self, inputs: ModelInput) -> tuple[Condition, Keypoints]:
        """Run the backbone once: the expert's condition, and where the Fusion Tokens see the end effector go."""
        prefix = self.embed_prefix(inputs)
        hidden, key_values = self.backbone(prefix)
        per_camera = self.config.vision.tokens
        first = self.config.front_camera * per_camera
        keypoints = self.trajectory_head(
            hidden[:, prefix.columns(Modality.FUSION)], hidden[:, first : first + per_camera]
        )
        guide = None if self.guide is None else self.guide(keypoints.uv)
        return Condition(self.expert.project_prefix(key_values), prefix.present, guide), keypoints

    def velocity(
        self, noisy: Float[Tensor, "b r h a"], time: Float[Tensor, "b r"], condition: Condition
    ) -> Float[Tensor, "b r h a"]:
        """The flow's velocity for r noisy chunks per prefix."""
        latent = self.expert(noisy, time, condition.key_values, condition.present, condition.guide)
        return self.action_out_proj(latent).float()

    def compute_loss(
        self,
        inputs: ModelInput,
        actions: Float[Tensor, "b h a"],
        row_valid: Bool[Tensor, "b h"],
        keypoint_uv: Float[Tensor, "b f 2"],
        keypoint_valid: Bool[Tensor, "b f"],
        *,
        noise: Float[Tensor, "b r h a"],
        time: Float[Tensor, "b r"],
    ) -> tuple[Losses, Keypoints]:
        """Flow-matching loss of r noise samples per observation, and the trajectory loss.

        Parameters
        ----------
        inputs
            The observation.
        actions
            Normalised chunks.
        row_valid
            Rows that the demonstration's expert commanded; others don't count (grounding scenes have none).
        keypoint_uv, keypoint_valid
            The end effector's keypoints in the front image, 0…1.
        noise, time
            r noise samples and flow times for each observation.
        """
        condition, keypoints = self.condition(inputs)
        noisy, target = flow_matching.interpolate(actions[:, None], noise, time)
        error = (self.velocity(noisy, time, condition) - target).square().mean(dim=-1)
        weight = row_valid[:, None].expand_as(error)
        action = (error * weight).sum() / weight.sum().clamp(min=1)
        entropy = self.trajectory_head.loss(keypoints, keypoint_uv, keypoint_valid)
        trajectory = entropy.sum() / (entropy > 0).sum().clamp(min=1)
        return Losses(action, trajectory), keypoints

    @torch.no_grad()
    def sample_actions(self, inputs: ModelInput, noise: Float[Tensor, "b h a"]) -> Float[Tensor, "b h a"]:
        """Denoise a chunk: the prefix is computed once, its keys and values serve every step."""
        condition, _ = self.condition(inputs)

        def velocity(x: Tensor, t: float) -> Tensor:
            return self.velocity(x, torch.full(x.shape[:2], t, device=x.device), condition)

        return flow_matching.integrate(velocity, noise[:, None], self.config.denoise_steps)[:, 0]
