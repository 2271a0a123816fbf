# SPDX-License-Identifier: Apache-2.0
"""Packed layers for inference on a CPU: the same network, faster."""

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch

from swiftvla_ros.model.config import swiftvla_nano
from swiftvla_ros.model.cpu_packed_linear import PackedLinear, can_pack, pack
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA

Draw = Callable[..., ModelInput]
needs_onednn = pytest.mark.skipif(not can_pack(torch.float32), reason="torch was built without oneDNN")


@needs_onednn
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


@needs_onednn
@pytest.mark.parametrize("activation", ["", "gelu_tanh", "silu"])
def test_packed_layer_equals_the_plain_one(activation: str) -> None:
    """Protects the fused activations: the tower's GELU is the tanh approximation, the gate is SiLU."""
    linear = torch.nn.Linear(24, 40).requires_grad_(False)
    x = torch.randn(2, 7, 24) * 3
    plain = linear(x)
    if activation == "gelu_tanh":
        plain = torch.nn.functional.gelu(plain, approximate="tanh")
    if activation == "silu":
        plain = torch.nn.functional.silu(plain)
    torch.testing.assert_close(PackedLinear(linear, 7, activation)(x), plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_can_be_packed_computes(dtype: torch.dtype) -> None:
    """Protects processors without bfloat16 kernels: what is said to be packable is, and anything else is not tried."""
    if can_pack(dtype):
        linear = torch.nn.Linear(24, 40, dtype=dtype).requires_grad_(False)
        assert PackedLinear(linear, 7)(torch.ones(7, 24, dtype=dtype)).isfinite().all()
    assert not can_pack(torch.float64)


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
