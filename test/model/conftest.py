# SPDX-License-Identifier: Apache-2.0
"""A nano network with random weights, and observations for it."""

from collections.abc import Callable

import pytest
import torch

from swiftvla_ros.model.config import swiftvla_nano
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA


@pytest.fixture(scope="module")
def nano() -> SwiftVLA:
    """Return a nano network with random weights."""
    torch.manual_seed(0)
    return SwiftVLA(swiftvla_nano()).eval()


@pytest.fixture(scope="session")
def inputs() -> Callable[..., ModelInput]:
    """Return a function that draws an observation whose text has ``padding`` absent tokens at its end."""

    def draw(batch: int = 2, words: int = 5, padding: int = 0) -> ModelInput:
        generator = torch.Generator().manual_seed(1)
        text = torch.randint(300, 6000, (batch, words), generator=generator)
        return ModelInput(
            images=torch.rand((batch, 2, 3, 96, 96), generator=generator) * 2 - 1,
            text=torch.nn.functional.pad(text, (0, padding)),
            text_present=torch.arange(words + padding).expand(batch, -1) < words,
            state=torch.randn((batch, 6), generator=generator),
        )

    return draw
