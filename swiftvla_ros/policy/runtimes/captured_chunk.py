# SPDX-License-Identifier: Apache-2.0
"""A network's chunk as CUDA graphs: a few launches instead of thousands, which take longer than their work.

The vision tower of each camera is one graph, and all that follows is another, once for each length that instructions
are padded to. Everything is captured when the network is loaded, so no instruction ever waits for it. A camera's image
and tower have a stream of their own: a tower runs while the next image is being copied, and beside the next tower
where the GPU has room for both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swiftvla_ros.model.guidance import Guidance, Method
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA
from swiftvla_ros.observation.observation import RowsAhead
from swiftvla_ros.policy.runtime import NetworkInput

# Of the lengths that instructions are padded to; each next one is twice as long.
_SHORTEST_TEXT = 16


def text_lengths(longest: int) -> list[int]:
    """The lengths that instructions are padded to, in tokens."""
    lengths, length = [], _SHORTEST_TEXT
    while length < longest:
        lengths.append(length)
        length *= 2
    return [*lengths, longest]


class CapturedChunk:
    """Computes the chunk of one observation, from arrays to an array; not for two threads at once.

    Parameters
    ----------
    model
        On a GPU; its parameters must stay where they are.
    guidance
        How chunks can be made to continue a plan; None: not at all.
    """

    @torch.inference_mode()
    def __init__(self, model: SwiftVLA, guidance: Method | None) -> None:
        config = model.config
        upload = partial(_Upload, model.state_proj.weight.device)
        rows = (config.horizon, config.action_dim)
        self._model, self._guidance_method = model, guidance
        self._images = [upload(1, 1, 3, *2 * (config.vision.image_size,)) for _ in range(config.num_cameras)]
        self._text = upload(1, config.text.max_tokens, dtype=torch.int64)
        self._present = upload(1, config.text.max_tokens, dtype=torch.bool)
        self._state, self._noise = upload(1, config.state_dim), upload(1, *rows)
        self._plan, self._held = upload(1, *rows), upload(config.horizon)
        self._executed = upload(config.horizon, dtype=torch.bool)
        self._chunk, self._finished = torch.empty(rows, pin_memory=True), torch.cuda.Event()
        torch.cuda.synchronize()
        self._towers = [_Captured(partial(self._vision, image), torch.cuda.Stream()) for image in self._images]
        self._stream = torch.cuda.Stream()
        # They never run at the same time, so they share their memory.
        memory = torch.cuda.graph_pool_handle()
        self._denoising = {
            (length, guided): _Captured(partial(self._denoise, length, guided=guided), self._stream, memory)
            for length in text_lengths(config.text.max_tokens)
            for guided in ((False,) if guidance is None else (False, True))
        }

    def __call__(
        self, inputs: NetworkInput, noise: NDArray[np.float32], ahead: RowsAhead | None = None
    ) -> NDArray[np.float32]:
        """Compute a normalised chunk [H, A], as :meth:`PolicyRuntime.infer` does."""
        for camera, image in enumerate(inputs.images):
            self.look(camera, image)
        return self.denoise(inputs, noise, ahead)

    @torch.inference_mode()
    def look(self, camera: int, image: NDArray[np.float32]) -> None:
        """Start a camera's vision tower on its image [3, h, w], and don't wait for it."""
        tower = self._towers[camera]
        with torch.cuda.stream(tower.stream):
            self._images[camera].send(image[None, None])
            tower.replay()

    @torch.inference_mode()
    def denoise(
        self, inputs: NetworkInput, noise: NDArray[np.float32], ahead: RowsAhead | None = None
    ) -> NDArray[np.float32]:
        """Compute the chunk from what the cameras' towers were last started on, and the rest of ``inputs``."""
        words = len(inputs.token_ids)
        length = next(length for length, _ in self._denoising if length >= words)
        with torch.cuda.stream(self._stream):
            self._text.send(inputs.token_ids)
            self._present.send(np.ones(words, np.bool_))
            self._state.send(inputs.state)
            self._noise.send(noise)
            if ahead is not None:
                self._send_plan(ahead)
            for tower in self._towers:
                self._stream.wait_stream(tower.stream)
            denoising = self._denoising[length, ahead is not None]
            denoising.replay()
            self._chunk.copy_(denoising.output[0], non_blocking=True)
            self._finished.record()
        self._finished.synchronize()
        return self._chunk.numpy().copy()

    def image_tokens(self) -> Tensor:
        """The last chunk's image tokens [1, n, d]: what the prefix made of the towers' output, once more."""
        with torch.cuda.stream(self._stream):
            tokens = self._model.backbone.embed_features(torch.cat([tower.output for tower in self._towers], dim=1))
        self._stream.synchronize()
        return tokens

    def _send_plan(self, ahead: RowsAhead) -> None:
        config = self._model.config
        rows = torch.zeros((1, config.horizon, config.action_dim))
        overlap, joints = ahead.rows.shape
        rows[0, :overlap, :joints] = torch.from_numpy(ahead.rows)
        assert self._guidance_method is not None
        plan = Guidance.over(self._guidance_method, rows, ahead.executed, overlap)
        self._plan.send(plan.rows.numpy())
        self._executed.send(plan.executed.numpy())
        self._held.send(plan.held.numpy())

    def _vision(self, image: _Upload) -> Tensor:
        return self._model.backbone.vision_features(image.there)

    def _denoise(self, length: int, *, guided: bool) -> Tensor:
        inputs = ModelInput(
            images=self._images[0].there,  # the towers have read them
            text=self._text.there[:, :length],
            text_present=self._present.there[:, :length],
            state=self._state.there,
        )
        guidance = None
        if guided:
            assert self._guidance_method is not None
            guidance = Guidance(self._guidance_method, self._plan.there, self._executed.there, self._held.there)
        prefix = self._model.embed_prefix(inputs, torch.cat([tower.output for tower in self._towers], dim=1))
        return self._model.denoise(prefix, self._noise.there, guidance)


class _Upload:
    """An array on the GPU, and a pinned one here: copying from that one nobody has to wait."""

    def __init__(self, device: torch.device, *shape: int, dtype: torch.dtype = torch.float32) -> None:
        self.there = torch.zeros(shape, dtype=dtype, device=device)
        self._here = torch.zeros(shape, dtype=dtype, pin_memory=True)
        self._flat = self._here.numpy().reshape(-1)
        self._sent = torch.cuda.Event()

    def send(self, values: NDArray[np.generic]) -> None:
        """Start to copy; where there are fewer values than room, the rest becomes 0."""
        self._sent.synchronize()
        self._flat[: values.size] = values.reshape(-1)
        self._flat[values.size :] = 0
        self.there.copy_(self._here, non_blocking=True)
        self._sent.record()


class _Captured:
    """A computation as a graph, whose ``output`` the next run overwrites."""

    def __init__(self, compute: Callable[[], Tensor], stream: torch.cuda.Stream, memory: Any = None) -> None:
        self.stream = stream
        # Libraries choose their kernels and workspaces in the first calls, which must not be captured.
        with torch.cuda.stream(stream):
            for _ in range(2):
                compute()
        stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=memory, stream=stream):
            self.output = compute()

    def replay(self) -> None:
        """Start it on the current stream."""
        self._graph.replay()
