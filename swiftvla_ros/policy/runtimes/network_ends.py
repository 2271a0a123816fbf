# SPDX-License-Identifier: Apache-2.0
"""What lies between and around a network's graphs, in float32 numpy: its ends, its layout, and the embedding table.

Small layers that a low precision would hurt most (lerobot's SmolVLA keeps the same ones in float32), and all that
depends on the text's length. The formulas are those of ``model.expert``, ``model.attention`` and ``model.prefix``.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from swiftvla_ros.files import tensor_places, unreadable
from swiftvla_ros.model.config import FLOW_TIME_PERIODS, SwiftVLAConfig

Array = NDArray[np.float32]

TABLE = "backbone.text_model.embed_tokens.weight"
ENDS = (
    "state_proj.weight", "state_proj.bias", "expert.action_in_proj.weight", "expert.action_in_proj.bias",
    "expert.action_time_mlp_in.weight", "expert.action_time_mlp_in.bias", "expert.action_time_mlp_out.weight",
    "expert.action_time_mlp_out.bias", "action_out_proj.weight", "action_out_proj.bias",
)  # fmt: skip

# What is added to the score of a key that may not be seen: nothing remains of it after a softmax, in any precision.
_UNSEEN = np.float32(-1e9)


class Layout(NamedTuple):
    """Rotations [1, n, 1, hd] and an additive mask [1, n, keys] of some tokens."""

    cos: Array
    sin: Array
    mask: Array


class NetworkEnds:
    """The ends of the network ``config``, from a safetensors file; ValueError names what is wrong with it."""

    def __init__(self, config: SwiftVLAConfig, path: Path) -> None:
        self._config = config
        try:
            self._table = _mapped(path, TABLE)
            with safe_open(path, framework="numpy") as file:
                ends = {name: file.get_tensor(name).astype(np.float32) for name in ENDS}
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise ValueError(unreadable(path, error, "export the checkpoint again")) from error
        width = config.expert.hidden_size
        self._state, self._state_bias = ends["state_proj.weight"].T, ends["state_proj.bias"]
        first, first_bias = ends["expert.action_time_mlp_in.weight"].astype(np.float64), ends[
            "expert.action_time_mlp_in.bias"
        ]  # fmt: skip
        # Two linear layers in a row are one.
        self._in = (first[:, :width] @ ends["expert.action_in_proj.weight"]).astype(np.float32).T
        self._of_time = first[:, width:], first_bias + first[:, :width] @ ends["expert.action_in_proj.bias"]
        self._mlp, self._mlp_bias = (
            ends["expert.action_time_mlp_out.weight"].T,
            ends["expert.action_time_mlp_out.bias"],
        )
        self._out, self._out_bias = ends["action_out_proj.weight"].T, ends["action_out_proj.bias"]
        self._rotations = _rotations(config)
        self._steps: dict[int, Layout] = {}
        self._prefixes: dict[int, Layout] = {}

    def embed_text(self, token_ids: NDArray[np.int64]) -> Array:
        """Token ids [n] → embeddings [1, n, d]; only their rows of the table are read."""
        return (self._table[token_ids].astype(np.float32) * np.float32(self._config.text.hidden_size**0.5))[None]

    def embed_state(self, state: Array) -> Array:
        """Normalised state [S] → its token [1, 1, d]."""
        return (state @ self._state + self._state_bias)[None, None]

    @cached_property
    def flow_times(self) -> NDArray[np.float32]:
        """Flow times [steps] of the Euler steps: 1 is noise."""
        steps = self._config.denoise_steps
        return (1 - np.arange(steps) / steps).astype(np.float32)

    def embed_time(self, time: NDArray[np.float32]) -> Array:
        """Flow times [...] → their part of the action tokens' first layer [..., w]."""
        fraction = np.linspace(0, 1, self._config.expert.hidden_size // 2)
        shortest, longest = FLOW_TIME_PERIODS
        period = shortest * (longest / shortest) ** fraction
        phase = 2 * math.pi * time[..., None].astype(np.float64) / period
        weight, bias = self._of_time
        embedded = np.concatenate([np.sin(phase), np.cos(phase)], axis=-1)
        return np.asarray(embedded @ weight.T + bias, np.float32)

    def embed_actions(self, noisy: Array, time: Array, guide: Array | None) -> Array:
        """A noisy chunk [h, a], embedded flow times [1 or h, w] and the guide [1, w] → action tokens [1, h, w]."""
        x = noisy @ self._in + time
        tokens = (x / (1 + np.exp(-x))) @ self._mlp + self._mlp_bias
        return (tokens if guide is None else tokens + guide)[None]

    def velocity(self, latent: Array) -> Array:
        """The expert's latent [1, h, w] → the flow's velocity [h, a]."""
        return np.asarray(latent[0] @ self._out + self._out_bias)

    def prefix_layout(self, text: int) -> Layout:
        """Layout of a prefix with so many tokens of text: blocks see themselves and those before (paper, fig. 3)."""
        if text not in self._prefixes:
            config = self._config
            fusion = config.fusion.num_tokens if config.fusion else 0
            block = np.zeros(config.prefix_tokens(text), np.int64)
            if config.state_block == "own":
                block[len(block) - fusion - 1] = 1
            block[len(block) - fusion :] = 2
            seen = block[None, :] <= block[:, None]
            mask = np.where(seen, np.float32(0), _UNSEEN).astype(np.float32)[None]
            cos, sin = (table[None, : len(block), None] for table in self._rotations)
            self._prefixes[text] = Layout(np.ascontiguousarray(cos), np.ascontiguousarray(sin), mask)
        return self._prefixes[text]

    def step_layout(self, prefix: int) -> Layout:
        """Layout of the action tokens after a prefix: they see it, and the action tokens before them."""
        if prefix not in self._steps:
            h = self._config.horizon
            causal = np.where(np.tri(h, dtype=bool), np.float32(0), _UNSEEN)
            mask = np.concatenate([np.zeros((h, prefix), np.float32), causal], axis=1, dtype=np.float32)[None]
            cos, sin = (table[None, prefix : prefix + h, None] for table in self._rotations)
            self._steps[prefix] = Layout(np.ascontiguousarray(cos), np.ascontiguousarray(sin), mask)
        return self._steps[prefix]


def _rotations(config: SwiftVLAConfig) -> tuple[Array, Array]:
    """Cosines and signed sines [positions, hd] of RoPE, for every position that the longest text leads to."""
    longest = config.prefix_tokens(config.text.max_tokens) + config.horizon
    exponent = np.arange(0, config.text.head_dim, 2, dtype=np.float32) / np.float32(config.text.head_dim)
    frequency = np.float32(config.text.rope_theta) ** exponent
    angles = np.arange(longest, dtype=np.float32)[:, None] / frequency
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([cos, cos], axis=1), np.concatenate([-sin, sin], axis=1)


def _mapped(path: Path, name: str) -> NDArray[np.float32] | NDArray[np.float16]:
    """A tensor of a safetensors file as it lies there: pages that nobody reads take no memory."""
    place = tensor_places(path)[name]
    dtype = {"F32": np.float32, "F16": np.float16}.get(place.dtype)
    if dtype is None:
        raise ValueError(f"{name} is {place.dtype}, not F32 or F16")
    return np.memmap(path, dtype, "r", place.begin, place.shape)
