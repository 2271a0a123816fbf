# SPDX-License-Identifier: Apache-2.0
"""What surrounds the CUDA graphs, with graphs that just compute anew. The rest: benchmarks/gpu_check.py, on a GPU."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.guidance import Guidance
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA
from swiftvla_ros.observation.observation import RowsAhead
from swiftvla_ros.policy import CheckpointError
from swiftvla_ros.policy.checkpoint import Checkpoint, open_checkpoint
from swiftvla_ros.policy.runtime import NetworkInput, RuntimeOptions
from swiftvla_ros.policy.runtimes import captured_chunk
from swiftvla_ros.policy.runtimes.captured_chunk import CapturedChunk, text_lengths
from swiftvla_ros.policy.runtimes.torch_runtime import TorchRuntime, load_model

CHECKPOINT = Path(__file__).parents[3] / "models" / "swiftvla-nano-so101"


class Idle:
    """A stream or an event of a GPU that is always done."""

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_: None


class Recomputed:
    """Stands for a captured graph."""

    def __init__(self, compute: Callable[[], torch.Tensor], stream: Any, memory: object = None) -> None:
        del memory
        self.stream, self._compute, self.output = stream, compute, compute()

    def replay(self) -> None:
        self.output.copy_(self._compute())


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU stand for a GPU."""
    for name, value in (("Stream", Idle), ("Event", Idle), ("synchronize", int), ("graph_pool_handle", int)):
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(captured_chunk, "_Captured", Recomputed)
    monkeypatch.setattr(captured_chunk, "_SHORTEST_TEXT", 48)
    for make in (torch.zeros, torch.empty):
        unpinned = lambda *shape, make=make, pin_memory=False, **options: make(*shape, **options)  # noqa: ARG005, E731
        monkeypatch.setattr(torch, make.__name__, unpinned)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """Return the shipped network, of fewer steps."""
    checkpoint = open_checkpoint(CHECKPOINT)
    return replace(checkpoint, model=replace(checkpoint.model, denoise_steps=2))


def draw(config: SwiftVLAConfig, words: int) -> tuple[NetworkInput, np.ndarray]:
    """Return a random observation, and noise."""
    rng = np.random.default_rng(words)
    side = config.vision.image_size
    images = rng.uniform(-1, 1, (config.num_cameras, 3, side, side)).astype(np.float32)
    state, noise = rng.normal(size=config.state_dim), rng.normal(size=(config.horizon, config.action_dim))
    ids = rng.integers(1, config.text.vocab_size, words)
    return NetworkInput(images, ids, state.astype(np.float32)), noise.astype(np.float32)


@pytest.fixture(scope="module")
def network(checkpoint: Checkpoint) -> SwiftVLA:
    """Return the network itself."""
    return load_model(checkpoint, torch.float32)


@pytest.mark.usefixtures("no_gpu")
def test_padded_chunks_are_the_plain_ones(checkpoint: Checkpoint, network: SwiftVLA) -> None:
    """Protects the static buffers: nothing of a longer instruction or of a plan is left when the next one comes."""
    chunk = CapturedChunk(network, "identity")
    ahead = RowsAhead(np.full((4, checkpoint.model.action_dim), 0.3, np.float32), 2)
    rows = torch.full((1, checkpoint.model.horizon, checkpoint.model.action_dim), 0.3)
    for words, plan in ((50, None), (48, ahead), (3, None)):
        inputs, noise = draw(checkpoint.model, words)
        arrays = [torch.from_numpy(array)[None] for array in (inputs.images, inputs.token_ids, inputs.state, noise)]
        images, text, state, start = arrays
        tensors = ModelInput(images, text, torch.ones_like(text, dtype=torch.bool), state)
        guidance = plan and Guidance.over("identity", rows, 2, 4)
        expected = network.sample_actions(tensors, start, guidance=guidance)[0].numpy()
        np.testing.assert_allclose(chunk(inputs, noise, plan), expected, atol=1e-5)


def test_lengths_end_with_the_longest() -> None:
    """Protects from an instruction that fits no graph."""
    assert text_lengths(48) == [16, 32, 48]
    assert text_lengths(64) == [16, 32, 64]
    assert text_lengths(12) == [12]


def test_half_precision_is_refused_on_a_cpu() -> None:
    """Protects from a policy that is slow or fails in its first chunk: processors don't multiply float16."""
    with pytest.raises(CheckpointError, match=r"'float16' needs a GPU.*bfloat16"):
        TorchRuntime(open_checkpoint(CHECKPOINT), RuntimeOptions(device="cpu", precision="float16"))
