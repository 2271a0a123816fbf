# SPDX-License-Identifier: Apache-2.0
"""SwiftVLA (arXiv 2512.00903) as it is deployed: prefix, condition and sampling. What trains it is in ``objective``."""

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
from swiftvla_ros.model.fusion import FusionTokens
from swiftvla_ros.model.guidance import Guidance
from swiftvla_ros.model.prefix import Modality, Prefix, concatenate, front_places


class ModelInput(NamedTuple):
    """What the network reads: images in [-1, 1], token ids with their mask, normalised state."""

    images: Float[Tensor, "b cams 3 h w"]
    text: Int[Tensor, "b n"]
    text_present: Bool[Tensor, "b n"]
    state: Float[Tensor, "b s"]


class GeometryTokens(NamedTuple):
    """4D tokens in the backbone's width, and the samples that have them; there are none once deployed."""

    embeddings: Float[Tensor, "b k d"]
    present: Bool[Tensor, " b"]


class Condition(NamedTuple):
    """All that the action expert needs of the prefix; computed once per chunk."""

    key_values: list[KeyValue]
    present: Bool[Tensor, "b n"]
    next_position: Int[Tensor, " b"]
    guide: Float[Tensor, "b d"] | None


class SwiftVLA(nn.Module):
    """The network without anything that only training needs."""

    def __init__(self, config: SwiftVLAConfig) -> None:
        super().__init__()
        self.config = config
        fusion, width = config.fusion, config.text.hidden_size
        self.backbone = Backbone(config)
        self.state_proj = nn.Linear(config.state_dim, width)
        self.fusion = FusionTokens(fusion, width) if fusion else None
        self.expert = ActionExpert(config)
        self.action_out_proj = nn.Linear(config.expert.hidden_size, config.action_dim)
        guides = fusion is not None and fusion.guides_expert
        self.guide = nn.Linear(fusion.num_tokens * width, config.expert.hidden_size) if fusion and guides else None

    def embed_prefix(
        self,
        inputs: ModelInput,
        image_features: Float[Tensor, "b cams p v"],
        geometry: GeometryTokens | None = None,
        image_present: Bool[Tensor, " b"] | None = None,
    ) -> Prefix:
        """Tokens of all modalities in their order: 2D, 4D, text, state, fusion.

        ``image_present`` False masks a sample's 2D modality; by default all have it.
        """
        images = self.backbone.embed_features(image_features)
        b, dtype = len(images), images.dtype
        everywhere = torch.ones(b, dtype=torch.bool, device=images.device)

        def segment(modality: Modality, x: Tensor, present: Tensor) -> tuple[Modality, Tensor, Tensor]:
            return modality, x.to(dtype), present[:, None].expand(x.shape[:2])

        segments = [segment(Modality.IMAGE, images, everywhere if image_present is None else image_present)]
        geometry_positions = None
        if geometry is not None:
            segments.append(segment(Modality.GEOMETRY, geometry.embeddings, geometry.present))
            geometry_positions = self.front_places(geometry.embeddings.shape[1], images.device)
        segments.append((Modality.TEXT, self.backbone.embed_text(inputs.text).to(dtype), inputs.text_present))
        segments.append(segment(Modality.STATE, self.state_proj(inputs.state)[:, None], everywhere))
        if self.fusion is not None:
            segments.append(segment(Modality.FUSION, self.fusion(b), everywhere))
        return concatenate(segments, self.config.state_block, geometry_positions)

    def front_places(self, tokens: int, device: torch.device) -> Int[Tensor, " k"]:
        """For so many 4D tokens of the front view the prefix's image tokens that show the same."""
        vision = self.config.vision
        return front_places(tokens, self.config.front_camera * vision.tokens, vision.tokens_per_side, device)

    def condition(self, prefix: Prefix) -> tuple[Condition, Float[Tensor, "b n d"]]:
        """Run the backbone once (paper, eq. 1): the expert's condition, and the prefix's outputs Z."""
        hidden, key_values = self.backbone(prefix)
        guide = self.guide_of(prefix, hidden)
        return Condition(self.expert.project_prefix(key_values), prefix.present, prefix.next_position, guide), hidden

    def guide_of(self, prefix: Prefix, hidden: Float[Tensor, "b n d"]) -> Float[Tensor, "b d"] | None:
        """What the Fusion Tokens' outputs add to the action tokens; None where the config doesn't want it."""
        if self.guide is None:
            return None
        guide: Tensor = self.guide(hidden[:, prefix.columns(Modality.FUSION)].flatten(1))
        return guide

    def action_latent(
        self, noisy: Float[Tensor, "b r h a"], time: Float[Tensor, "b r #h"], condition: Condition
    ) -> Float[Tensor, "b r h d"]:
        """The action expert's latent Z_A (paper, eq. 2) of r noisy chunks per prefix; ``time`` of chunks or of rows."""
        expert = self.expert
        layout = expert.layout(condition.present, condition.next_position, noisy.shape[1])
        return expert(noisy, expert.embed_time(time), condition.key_values, layout, condition.guide)

    def velocity(self, latent: Float[Tensor, "b r h d"]) -> Float[Tensor, "b r h a"]:
        """h_action: the flow's velocity."""
        return self.action_out_proj(latent).float()

    @torch.no_grad()
    def sample_actions(
        self,
        inputs: ModelInput,
        noise: Float[Tensor, "b h a"],
        geometry: GeometryTokens | None = None,
        guidance: Guidance | None = None,
    ) -> Float[Tensor, "b h a"]:
        """Denoise a chunk: the prefix is computed once, its keys and values serve every step.

        ``geometry`` is for study: a deployed policy has no 4D tokens. ``guidance`` makes the chunk continue a plan.
        """
        prefix = self.embed_prefix(inputs, self.backbone.vision_features(inputs.images), geometry)
        return self.denoise(prefix, noise, guidance)

    @torch.no_grad()
    def denoise(
        self, prefix: Prefix, noise: Float[Tensor, "b h a"], guidance: Guidance | None = None
    ) -> Float[Tensor, "b h a"]:
        """Denoise a chunk over a prefix; on a GPU nothing here waits for it."""
        if self.guide is None:
            # Nobody reads the prefix's outputs then.
            key_values = self.expert.project_prefix(self.backbone.key_values(prefix))
            condition = Condition(key_values, prefix.present, prefix.next_position, guide=None)
        else:
            condition, _ = self.condition(prefix)
        steps, expert = self.config.denoise_steps, self.expert
        layout = expert.layout(condition.present, condition.next_position, repeats=1)
        flow_times = flow_matching.denoising_times(steps, noise.device)
        times = expert.embed_time(flow_times[:, None] if guidance is None else guidance.row_times(flow_times))

        def velocity(x: Tensor, step: int) -> Tensor:
            time = times[step].expand(len(x), 1, -1, -1)
            return self.velocity(expert(x, time, condition.key_values, layout, condition.guide))

        start = noise[:, None]
        if guidance is None:
            return flow_matching.integrate(velocity, start, steps)[:, 0]
        steered = guidance.steer(velocity, flow_matching.denoising_times(steps, torch.device("cpu")))
        return flow_matching.integrate(steered, guidance.start(start), steps)[:, 0]
