# SPDX-License-Identifier: Apache-2.0
"""Packed layers for inference on a CPU: the same network, faster."""

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch

from swiftvla_ros.model.config import swiftvla_nano
from swiftvla_ros.model.cpu.packing import pack
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA

Draw = Callable[..., ModelInput]


def half(network: SwiftVLA) -> SwiftVLA:
    """Return a network in bfloat16 whose ends are float32, as the runtime loads it."""
    network = copy.deepcopy(network).requires_grad_(False)
    for name, parameter in network.named_parameters():
        if not name.startswith(("state_proj.", "expert.action_", "action_out_proj.")):
            parameter.data = parameter.data.bfloat16()
    return network


@pytest.mark.parametrize("words", [5, 11])
def test_packed_network_computes_the_same_chunk(nano: SwiftVLA, inputs: Draw, words: int) -> None:
    """Protects the runtime: packing changes no chunk beyond rounding, whatever the number of words."""
    noise = torch.randn((1, 10, 6), generator=torch.Generator().manual_seed(2))
    packed = copy.deepcopy(nano).requires_grad_(False)
    pack(packed)
    observation = inputs(batch=1, words=words)
    torch.testing.assert_close(
        packed.sample_actions(observation, noise), nano.sample_actions(observation, noise), atol=1e-5, rtol=0
    )


def test_packed_bfloat16_rounds_like_plain(nano: SwiftVLA, inputs: Draw) -> None:
    """Protects processors with and without bfloat16: all packed layers take and give the type."""
    noise = torch.randn((1, 10, 6), generator=torch.Generator().manual_seed(2))
    exact = nano.sample_actions(inputs(batch=1), noise)
    plain = half(nano)
    packed = copy.deepcopy(plain)
    pack(packed)
    error, plain_error = ((net.sample_actions(inputs(batch=1), noise) - exact).abs().mean() for net in (packed, plain))
    assert 0 < error < 2 * plain_error


def test_outputs_of_the_prefix_are_the_same(nano: SwiftVLA, inputs: Draw) -> None:
    """Protects the Fusion Tokens, which are read from what the last text layer gives."""
    packed = copy.deepcopy(nano).requires_grad_(False)
    pack(packed, expert=False)
    with torch.no_grad():
        theirs, ours = (
            net.condition(net.embed_prefix(inputs(batch=1), net.backbone.vision_features(inputs(batch=1).images)))[1]
            for net in (nano, packed)
        )
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_chunk_is_one_graph(inputs: Draw) -> None:
    """Protects CUDA graphs and torch.compile: nothing on the way to a chunk waits for a value or breaks the graph."""
    nano = swiftvla_nano()
    config = dataclasses.replace(
        nano,
        vision=dataclasses.replace(nano.vision, num_layers=1),
        text=dataclasses.replace(nano.text, num_layers=2),
        denoise_steps=1,
    )
    network = SwiftVLA(config).eval()
    observation, noise = inputs(), torch.ones(2, 10, 6)
    compiled = torch.compile(network.sample_actions, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(observation, noise), network.sample_actions(observation, noise))
