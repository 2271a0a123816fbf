# SPDX-License-Identifier: Apache-2.0
"""Vision tower, connector and text layers: equal to transformers', with and without what inference leaves out."""

from collections.abc import Callable

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding
from transformers.models.smolvlm.configuration_smolvlm import SmolVLMConfig, SmolVLMVisionConfig
from transformers.models.smolvlm.modeling_smolvlm import SmolVLMConnector, SmolVLMVisionTransformer

from swiftvla_ros.model.attention import rotation
from swiftvla_ros.model.config import SwiftVLAConfig, swiftvla_450m
from swiftvla_ros.model.prefix import Prefix
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA

Draw = Callable[..., ModelInput]


@pytest.fixture
def prefix(nano: SwiftVLA, inputs: Draw) -> Prefix:
    """Return an embedded prefix with padded text."""
    observation = inputs(padding=3)
    with torch.no_grad():
        return nano.embed_prefix(observation, nano.backbone.vision_features(observation.images))


def _vision(config: SwiftVLAConfig) -> SmolVLMVisionConfig:
    vision = config.vision
    return SmolVLMVisionConfig(
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size,
        num_hidden_layers=vision.num_layers,
        num_attention_heads=vision.num_heads,
        image_size=vision.image_size,
        patch_size=vision.patch_size,
    )


def _text(config: SwiftVLAConfig) -> LlamaConfig:
    text = config.text
    return LlamaConfig(
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


@pytest.mark.parametrize("training", [False, True], ids=["fused", "plain"])
def test_vision_tower_equals_transformers(nano: SwiftVLA, inputs: Draw, training: bool) -> None:
    """Protects SmolVLM weights: the tower is transformers' by names and values, with either way of attention."""
    images = inputs().images.requires_grad_(training)
    with torch.set_grad_enabled(training):
        ours = nano.backbone.vision_features(images).flatten(0, 1)
    tower = SmolVLMVisionTransformer(_vision(nano.config))
    tower.load_state_dict(nano.backbone.vision_model.state_dict())
    theirs = tower(pixel_values=images.flatten(0, 1)).last_hidden_state
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_connector_equals_transformers(nano: SwiftVLA) -> None:
    """Protects SmolVLM weights: neighbouring patches go into a token in transformers' order."""
    vision = nano.config.vision
    whole = SmolVLMConfig(
        vision_config=_vision(nano.config), text_config=_text(nano.config), scale_factor=vision.scale_factor
    )
    connector = SmolVLMConnector(whole)
    connector.load_state_dict(nano.backbone.connector.state_dict())
    patches = vision.tokens * vision.scale_factor**2
    features = torch.randn((2, patches, vision.hidden_size), generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(nano.backbone.connector(features), connector(features))


def test_text_layers_equal_transformers(nano: SwiftVLA) -> None:
    """Protects SmolLM2 weights: on text alone, with a causal mask, a layer is transformers' llama."""
    config, text = _text(nano.config), nano.config.text
    x = torch.randn((1, 6, text.hidden_size), generator=torch.Generator().manual_seed(3))
    positions = torch.arange(6)[None]
    rope = LlamaRotaryEmbedding(config)(x, positions)
    layer = nano.backbone.text_model.layers[0]
    llama = LlamaDecoderLayer(config, layer_idx=0)
    llama.load_state_dict(layer.state_dict())
    theirs = llama(x, attention_mask=torch.zeros(1, 1, 6, 6), position_ids=positions, position_embeddings=rope)
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    ours, _ = layer(x, rotation(positions, text.head_dim, text.rope_theta), torch.ones(1, 6, 6, dtype=torch.bool))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_keys_and_values_alone_are_the_same(nano: SwiftVLA, prefix: Prefix) -> None:
    """Protects inference, which leaves out the rest of the last layer: the expert reads what it was trained on."""
    _, expected = nano.backbone(prefix)
    for alone, with_outputs in zip(nano.backbone.key_values(prefix), expected, strict=True):
        torch.testing.assert_close(alone, with_outputs)


def test_network_is_built_without_memory() -> None:
    """Protects peak memory: every tensor of a network on "meta" is one that a checkpoint fills."""
    with torch.device("meta"):
        network = SwiftVLA(swiftvla_450m())
    assert {name for name, _ in network.named_buffers()} <= set(network.state_dict())


def test_recomputed_layers_give_the_same_gradients(nano: SwiftVLA, inputs: Draw) -> None:
    """Protects gradient checkpointing: less memory, the same training; tower, text layers and expert."""

    def gradients(recompute: bool) -> list[torch.Tensor]:
        nano.backbone.checkpoint_layers = nano.expert.checkpoint_layers = recompute
        nano.zero_grad()
        observation = inputs()
        condition, _ = nano.condition(nano.embed_prefix(observation, nano.backbone.vision_features(observation.images)))
        latent = nano.action_latent(torch.ones(2, 1, 10, 6), torch.full((2, 1, 1), 0.5), condition)
        nano.velocity(latent).square().mean().backward()
        return [p.grad.clone() for p in nano.parameters() if p.grad is not None]

    plain, recomputed = gradients(False), gradients(True)
    nano.backbone.checkpoint_layers = nano.expert.checkpoint_layers = False
    nano.zero_grad()
    assert len(plain) > 50
    torch.testing.assert_close(recomputed, plain)
