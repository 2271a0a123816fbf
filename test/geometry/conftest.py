# SPDX-License-Identifier: Apache-2.0
"""A tiny causal network with strong random weights, and images for it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from swiftvla_ros.geometry import GeometryConfig, GeometryTransformer
from swiftvla_ros.geometry.config import CameraHeadConfig, DenseHeadConfig, EncoderConfig


def tiny_config(dense: str = "patch") -> GeometryConfig:
    """The architecture at 32 channels; its 2×3 patches are not the stored position grid's 3×3."""
    heads = {
        "patch": DenseHeadConfig("patch", features=4),
        "dpt": DenseHeadConfig("dpt", features=8, channels=(4, 8, 12, 16), layers=(0, 0, 1, 2)),
    }
    return GeometryConfig(
        image_size=(24, 36),
        patch_size=12,
        dim=32,
        num_heads=2,
        num_pairs=3,
        mlp_ratio=2.0,
        registers=2,
        encoder=EncoderConfig(num_layers=2, num_heads=2, mlp_ratio=2.0, registers=3, position_grid=3),
        camera=CameraHeadConfig(num_layers=2, num_heads=4, iterations=3),
        dense=heads[dense],
        layer_scale_init=1.0,
    )


def strong_weights(net: GeometryTransformer) -> GeometryTransformer:
    """Random values in every parameter, so large that attention and all biases matter."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                gain = 1.5 / max(parameter[0].numel(), 16) ** 0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * gain)
            else:
                parameter.copy_(1 + 0.3 * torch.randn(parameter.shape, generator=generator))
        for head in (net.depth_head, net.point_head):  # keep exp() of them small
            last = list(head.parameters())[-2:]
            for parameter in last:
                parameter.mul_(0.05)
    return net.eval()


@pytest.fixture(scope="session")
def config() -> Callable[..., GeometryConfig]:
    """Return the tiny network's configuration as a function of the dense heads' kind."""
    return tiny_config


@pytest.fixture(scope="session")
def build() -> Callable[[GeometryConfig], GeometryTransformer]:
    """Return a function that builds a network with strong weights."""
    return lambda config: strong_weights(GeometryTransformer(config))


@pytest.fixture(scope="session")
def tiny() -> GeometryTransformer:
    """Return the tiny network with light dense heads."""
    return strong_weights(GeometryTransformer(tiny_config()))


@pytest.fixture(scope="session")
def draw() -> Callable[..., Tensor]:
    """Return a function that draws images [b t v 3 h w] for the tiny network."""

    def images(batch: int, steps: int, views: int = 2, seed: int = 1) -> Tensor:
        return torch.rand(batch, steps, views, 3, 24, 36, generator=torch.Generator().manual_seed(seed))

    return images
