# SPDX-License-Identifier: Apache-2.0
"""SmolVLM as the backbone: SigLIP tower, connector, and the first layers of the text model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.smolvlm.configuration_smolvlm import SmolVLMConfig, SmolVLMVisionConfig
from transformers.models.smolvlm.modeling_smolvlm import (
    SmolVLMConnector,
    SmolVLMEncoderLayer,
    SmolVLMVisionTransformer,
)

from swiftvla_ros.model.attention import KeyValue, Mask, Rotation, attend, once_for_all_layers, rotate, rotation
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.gradient_checkpointing import run_layer
from swiftvla_ros.model.prefix import Prefix


class VisionLayer(nn.Module):
    """A layer of the tower, with transformers' modules."""

    def __init__(self, layer: SmolVLMEncoderLayer) -> None:
        super().__init__()
        self.self_attn, self.layer_norm1 = layer.self_attn, layer.layer_norm1
        self.mlp, self.layer_norm2 = layer.mlp, layer.layer_norm2

    def forward(self, x: Float[Tensor, "n p v"]) -> Float[Tensor, "n p v"]:
        """Patches of an image see each other."""
        x = x + self._attend(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))

    def _attend(self, x: Float[Tensor, "n p v"]) -> Float[Tensor, "n p v"]:
        attention = self.self_attn
        q, k, v = (
            project(x).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if x.requires_grad and x.device.type == "cpu":
            # On CPUs the plain attention's backward pass is several times faster than the fused one's.
            mixed = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(dim=-1, dtype=torch.float32).to(v.dtype) @ v
        else:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return attention.out_proj(mixed.transpose(1, 2).flatten(2))


class TextLayer(nn.Module):
    """A layer of the text model, with transformers' modules."""

    def __init__(self, layer: LlamaDecoderLayer) -> None:
        super().__init__()
        self.self_attn, self.mlp = layer.self_attn, layer.mlp
        self.input_layernorm, self.post_attention_layernorm = layer.input_layernorm, layer.post_attention_layernorm

    def forward(
        self, hidden: Float[Tensor, "b n d"], by: Rotation, mask: Mask
    ) -> tuple[Float[Tensor, "b n d"], KeyValue]:
        """The layer's output, and the key (rotated) and value of each token."""
        x = self.input_layernorm(hidden)
        q, (k, v) = rotate(self._heads(self.self_attn.q_proj, x), by), self._key_value(x, by)
        hidden = hidden + self.self_attn.o_proj(attend(q, k, v, mask))
        return hidden + self.mlp(self.post_attention_layernorm(hidden)), (k, v)

    def key_value(self, hidden: Float[Tensor, "b n d"], by: Rotation) -> KeyValue:
        """Key and value alone."""
        return self._key_value(self.input_layernorm(hidden), by)

    def _key_value(self, x: Float[Tensor, "b n d"], by: Rotation) -> KeyValue:
        return rotate(self._heads(self.self_attn.k_proj, x), by), self._heads(self.self_attn.v_proj, x)

    def _heads(self, project: nn.Module, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n h hd"]:
        heads: Tensor = project(x).unflatten(-1, (-1, self.self_attn.head_dim))
        return heads


class Backbone(nn.Module):
    """Images and text → embeddings, and embeddings → the keys and values that condition the action expert.

    The modules are transformers' own (so SmolVLM weights fit by name: ``vision_model``, ``connector``, ``text_model``);
    their layers are run here: every text layer's keys and values are needed.
    """

    def __init__(self, config: SwiftVLAConfig) -> None:
        super().__init__()
        vision, text = config.vision, config.text
        vision_config = SmolVLMVisionConfig(
            hidden_size=vision.hidden_size,
            intermediate_size=vision.intermediate_size,
            num_hidden_layers=vision.num_layers,
            num_attention_heads=vision.num_heads,
            image_size=vision.image_size,
            patch_size=vision.patch_size,
        )
        text_config = LlamaConfig(
            vocab_size=text.vocab_size,
            hidden_size=text.hidden_size,
            intermediate_size=text.intermediate_size,
            num_hidden_layers=text.num_layers,
            num_attention_heads=text.num_heads,
            num_key_value_heads=text.num_kv_heads,
            head_dim=text.head_dim,
            rms_norm_eps=1e-5,
            pad_token_id=0,
        )
        whole = SmolVLMConfig(
            vision_config=vision_config, text_config=text_config, scale_factor=vision.scale_factor, pad_token_id=0
        )
        # Gradient checkpointing of every layer.
        self.checkpoint_layers = False
        self.text_config = text
        self.vision_model = SmolVLMVisionTransformer(vision_config)
        self.vision_model.encoder.layers = nn.ModuleList(map(VisionLayer, self.vision_model.encoder.layers))
        self.connector = SmolVLMConnector(whole)
        self.text_model = LlamaModel(text_config)
        self.text_model.layers = nn.ModuleList(map(TextLayer, self.text_model.layers))
        # Rotations are made here for all layers at once; without its buffer the network can be built on "meta".
        self.text_model.rotary_emb = nn.Identity()
        # Before training, images and words carry equal weight; SmolVLA scales both by the square root of the width.
        self.embedding_scale = text.hidden_size**0.5

    def vision_features(self, images: Float[Tensor, "b cams 3 h w"]) -> Float[Tensor, "b cams p v"]:
        """Images in [-1, 1] → the tower's patch features; one batched pass for all cameras."""
        tower = self.vision_model
        patch = tower.embeddings.patch_embedding
        patches = patch(images.flatten(0, 1).to(patch.weight.dtype))
        # Images are square and fill the tower, so a patch's position is its number.
        x = patches.flatten(2).transpose(1, 2) + tower.embeddings.position_embedding.weight
        for layer in tower.encoder.layers:
            x = run_layer(layer, x, recompute=self.checkpoint_layers)
        return tower.post_layernorm(x).view(*images.shape[:2], *x.shape[1:])

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
