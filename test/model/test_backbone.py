# SPDX-License-Identifier: Apache-2.0
"""The hand-run vision tower and text layers: equal to transformers', with and without what inference leaves out."""

from collections.abc import Callable

import pytest
import torch
from transformers.models.smolvlm.modeling_smolvlm import SmolVLMVisionTransformer

from swiftvla_ros.model.prefix import Prefix
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA

Draw = Callable[..., ModelInput]


@pytest.fixture
def prefix(nano: SwiftVLA, inputs: Draw) -> Prefix:
    """Return an embedded prefix with padded text."""
    observation = inputs(padding=3)
    with torch.no_grad():
        return nano.embed_prefix(observation, nano.backbone.vision_features(observation.images))


@pytest.mark.parametrize("training", [False, True], ids=["fused", "plain"])
def test_vision_tower_equals_transformers(nano: SwiftVLA, inputs: Draw, training: bool) -> None:
    """Protects SmolVLM weights: the tower that is run here is transformers', with either way of attention."""
    images = inputs().images.requires_grad_(training)
    with torch.set_grad_enabled(training):
        ours = nano.backbone.vision_features(images).flatten(0, 1)
    tower = SmolVLMVisionTransformer(nano.backbone.vision_model.config)
    tower.load_state_dict(nano.backbone.vision_model.state_dict())
    theirs = tower(pixel_values=images.flatten(0, 1)).last_hidden_state
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_keys_and_values_alone_are_the_same(nano: SwiftVLA, prefix: Prefix) -> None:
    """Protects inference, which leaves out the rest of the last layer: the expert reads what it was trained on."""
    _, expected = nano.backbone(prefix)
    for alone, with_outputs in zip(nano.backbone.key_values(prefix), expected, strict=True):
        torch.testing.assert_close(alone, with_outputs)


def test_network_is_built_without_memory() -> None:
    """Protects peak memory: every tensor of a network on "meta" is one that a checkpoint fills."""
    from swiftvla_ros.model.config import swiftvla_450m

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
