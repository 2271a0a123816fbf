# SPDX-License-Identifier: Apache-2.0
"""SmolVLM as the backbone: SigLIP tower, connector, and the first layers of the text model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from jaxtyping import Float, Int
from torch import Tensor, nn

from swiftvla_ros.model.attention import KeyValue, Mask, Rotation, once_for_all_layers, rotation
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.gradient_checkpointing import run_layer
from swiftvla_ros.model.prefix import Prefix
from swiftvla_ros.model.text_model import TextLayer, TextModel
from swiftvla_ros.model.vision_tower import Connector, VisionTower

# Of weights before training, as in transformers.
_INITIAL_STD = 0.02


class Backbone(nn.Module):
    """Images and text → embeddings, and embeddings → the keys and values that condition the action expert.

    Its parameters are SmolVLM's by name: ``vision_model``, ``connector``, ``text_model``.
    """

    def __init__(self, config: SwiftVLAConfig) -> None:
        super().__init__()
        # Gradient checkpointing of every layer.
        self.checkpoint_layers = False
        self.text_config = config.text
        self.vision_model = VisionTower(config.vision)
        _initialize(self.vision_model)
        self.connector = Connector(config.vision, config.text.hidden_size)
        self.text_model = TextModel(config.text)
        _initialize(self.text_model)
        # Before training, images and words carry equal weight; SmolVLA scales both by the square root of the width.
        self.embedding_scale = config.text.hidden_size**0.5

    def vision_features(self, images: Float[Tensor, "b cams 3 h w"]) -> Float[Tensor, "b cams p v"]:
        """Images in [-1, 1] → the tower's patch features; one batched pass for all cameras."""
        features = self.vision_model(images.flatten(0, 1), recompute=self.checkpoint_layers)
        return features.view(*images.shape[:2], *features.shape[1:])

    def embed_features(self, features: Float[Tensor, "b cams p v"]) -> Float[Tensor, "b n d"]:
        """Patch features → tokens, cameras one after the other."""
        tokens = self.connector(features.flatten(0, 1)) * self.embedding_scale
        return tokens.view(len(features), -1, tokens.shape[-1])

    def embed_text(self, token_ids: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """Token ids → embeddings."""
        return self.text_model.embed_tokens(token_ids) * self.embedding_scale

    def forward(self, prefix: Prefix) -> tuple[Float[Tensor, "b n d"], list[KeyValue]]:
        """Run the text layers over the prefix (paper, eq. 1).

        Returns
        -------
        hidden
            The last layer's normalised output Z_f.
        key_values
            Every layer's keys (rotated) and values, the expert's hierarchical condition.
        """
        return self.run_layers(prefix.embeddings, self._rotation(prefix), prefix.attention_mask)

    def key_values(self, prefix: Prefix) -> list[KeyValue]:
        """The keys and values alone: the last layer computes nothing after them."""
        return self.run_layers(prefix.embeddings, self._rotation(prefix), prefix.attention_mask, outputs=False)[1]

    def _rotation(self, prefix: Prefix) -> Rotation:
        return rotation(prefix.positions, self.text_config.head_dim, self.text_config.rope_theta)

    def run_layers(
        self, hidden: Float[Tensor, "b n d"], by: Rotation, mask: Mask, *, outputs: bool = True
    ) -> tuple[Float[Tensor, "b n d"], list[KeyValue]]:
        """Run the text layers over embedded tokens; without ``outputs`` the hidden states mean nothing."""
        key_values: list[KeyValue] = []
        mask = once_for_all_layers(mask, hidden.dtype)
        *layers, last = cast(Iterable[TextLayer], self.text_model.layers)
        for layer in layers:
            hidden, key_value = run_layer(layer, hidden, by, mask, recompute=self.checkpoint_layers)
            key_values.append(key_value)
        if outputs:
            hidden, key_value = run_layer(last, hidden, by, mask, recompute=self.checkpoint_layers)
            hidden = self.text_model.norm(hidden)
        else:
            key_value = last.key_value(hidden, by)
        return hidden, [*key_values, key_value]


def _initialize(part: nn.Module) -> None:
    if next(part.parameters()).is_meta:
        return  # a file will fill it
    for module in part.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Embedding)):
            nn.init.normal_(module.weight, std=_INITIAL_STD)
        if isinstance(module, (nn.Linear, nn.Conv2d)) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx].detach())
