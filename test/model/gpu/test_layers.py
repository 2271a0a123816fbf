# SPDX-License-Identifier: Apache-2.0
"""Fused layers for inference on a GPU: the same network. What only a GPU shows: benchmarks/gpu_check.py."""

import copy
from collections.abc import Callable

import pytest
import torch

from swiftvla_ros.model.gpu.layers import fuse
from swiftvla_ros.model.guidance import Guidance, Method
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA

Draw = Callable[..., ModelInput]


@pytest.mark.parametrize(("method", "padding"), [(None, 7), ("vjp", 0)])
def test_fused_network_computes_the_same_chunk(
    nano: SwiftVLA, inputs: Draw, method: Method | None, padding: int
) -> None:
    """Protects the runtime: fusing changes no chunk beyond rounding, padded or guided."""
    noise = torch.randn((2, 10, 6), generator=torch.Generator().manual_seed(2))
    guidance = method and Guidance.over(method, torch.zeros(2, 10, 6), 2, 5)
    fused = copy.deepcopy(nano).requires_grad_(False)
    fuse(fused)
    observation = inputs(padding=padding)
    chunk = fused.sample_actions(observation, noise, guidance=guidance)
    expected = nano.sample_actions(observation, noise, guidance=guidance)
    torch.testing.assert_close(chunk, expected, atol=1e-5, rtol=0)
