# SPDX-License-Identifier: Apache-2.0
"""SmolVLM as the backbone: SigLIP tower, connector, and the first layers of the text model."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel
from transformers.models.smolvlm.configuration_smolvlm import SmolVLMConfig, SmolVLMVisionConfig
from transformers.models.smolvlm.modeling_smolvlm import SmolVLMConnector, SmolVLMVisionTransformer

from swiftvla_ros.model.attention import KeyValue, attend, rotary_angles, rotate
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.prefix import Prefix


class Backbone(nn.Module):
    """Images and text → embeddings, and embeddings → the keys and values that condition the action expert.

    The modules are transformers' own (so SmolVLM weights fit by name: ``vision_model``, ``connector``, ``text_model``);
    the text layers are run here, since every layer's keys and values are needed.
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
        self.text_config = text
        # On CPUs the plain attention's backward pass is several times faster than the fused one's.
        self.vision_model = SmolVLMVisionTransformer._from_config(vision_config, attn_implementation="eager")
        self.connector = SmolVLMConnector(whole)
        self.text_model = LlamaModel(text_config)
        # Before training, images and words carry equal weight; SmolVLA scales both by the square root of the width.
        self.embedding_scale = text.hidden_size**0.5

    def vision_features(self, images: Float[Tensor, "b cams 3 h w"]) -> Float[Tensor, "b cams p v"]:
        """Images in [-1, 1] → the tower's patch features; one batched pass for all cameras."""
        features = self.vision_model(pixel_values=images.flatten(0, 1)).last_hidden_state
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
        text = self.text_config
        mask = prefix.attention_mask
        angles = rotary_angles(prefix.positions, text.head_dim, text.rope_theta)
        hidden, key_values = prefix.embeddings, []
        b, n, _ = hidden.shape
        for layer in self.text_model.layers:
            attention = layer.self_attn
            x = layer.input_layernorm(hidden)
            q = rotate(attention.q_proj(x).view(b, n, text.num_heads, text.head_dim), angles)
            k = rotate(attention.k_proj(x).view(b, n, text.num_kv_heads, text.head_dim), angles)
            v = attention.v_proj(x).view(b, n, text.num_kv_heads, text.head_dim)
            key_values.append((k, v))
            hidden = hidden + attention.o_proj(attend(q, k, v, mask))
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return self.text_model.norm(hidden), key_values
