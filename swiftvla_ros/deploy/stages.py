# SPDX-License-Identifier: Apache-2.0
"""The network in the three pieces that become graphs: vision, prefix and step.

What lies between and around them is no graph's: the embedding table, the ends of the flow and the Euler steps stay in
float32 (``policy.runtimes.network_ends``). There is no padding in a graph: text has its own length, so the only mask is
the prefix's layout (paper, fig. 3), and masks and rotations come in as numbers that the caller makes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swiftvla_ros.model.attention import KeyValue, Rotation, rotation
from swiftvla_ros.model.expert import ActionLayout
from swiftvla_ros.model.swiftvla import SwiftVLA


class VisionStage(nn.Module):
    """One camera's image → its tokens in the backbone's width."""

    def __init__(self, network: SwiftVLA) -> None:
        super().__init__()
        self.backbone = network.backbone

    def forward(self, image: Float[Tensor, "1 3 s s"]) -> Float[Tensor, "1 p d"]:
        """Tower and connector."""
        return self.backbone.embed_features(self.backbone.vision_features(image[:, None]))


class PrefixStage(nn.Module):
    """Embedded images, words and state → what the action expert reads of them, layer by layer (paper, eq. 1)."""

    def __init__(self, network: SwiftVLA) -> None:
        super().__init__()
        self.backbone, self.fusion, self.guide = network.backbone, network.fusion, network.guide
        self.expert = network.expert

    def forward(
        self,
        images: Float[Tensor, "1 p d"],
        text: Float[Tensor, "1 n d"],
        state: Float[Tensor, "1 1 d"],
        cos: Float[Tensor, "1 m 1 hd"],
        sin: Float[Tensor, "1 m 1 hd"],
        mask: Float[Tensor, "1 m m"],
    ) -> tuple[Tensor, ...]:
        """Every layer's key, every layer's value [1, m, kv, hd], and the guide [1, d] where the network has one."""
        segments = [images, text, state]
        if self.fusion is not None:
            segments.append(self.fusion(1))
        hidden = torch.cat(segments, dim=1)
        hidden, key_values = self.backbone.run_layers(hidden, Rotation(cos, sin), mask, outputs=self.guide is not None)
        keys, values = zip(*self.expert.project_prefix(key_values), strict=True)
        if self.guide is None or self.fusion is None:
            return *keys, *values
        return *keys, *values, self.guide(hidden[:, -self.fusion.tokens.shape[0] :].flatten(1))


class StepStage(nn.Module):
    """Embedded action tokens and the prefix's keys and values → the latent Z_A (paper, eq. 2)."""

    def __init__(self, network: SwiftVLA) -> None:
        super().__init__()
        self.expert = network.expert
        text = network.config.text
        # The same in every step and for every text, unlike the rotation that goes on after the prefix.
        self.cross = rotation(torch.arange(network.config.horizon)[None], text.head_dim, text.rope_theta)

    def forward(
        self,
        actions: Float[Tensor, "1 h d"],
        keys: list[Float[Tensor, "1 m kv hd"]],
        values: list[Float[Tensor, "1 m kv hd"]],
        cos: Float[Tensor, "1 h 1 hd"],
        sin: Float[Tensor, "1 h 1 hd"],
        mask: Float[Tensor, "1 h m+h"],
    ) -> Float[Tensor, "1 h d"]:
        """All layers of the expert, once."""
        key_values: list[KeyValue] = list(zip(keys, values, strict=True))
        layout = ActionLayout(self.cross, Rotation(cos, sin), prefix_mask=None, joint_mask=mask)
        return self.expert.run_layers(actions, key_values, layout)
