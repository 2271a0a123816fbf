# SPDX-License-Identifier: Apache-2.0
"""Some small transformers over vectors of words, without torch: what a sentence means, as all of them say it.

They were trained on different parts of a grammar, so where words are strange to them they differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
HEADS = 4
_EPSILON = 1e-5


class ReadingNetwork:
    """All members at once; m of them.

    Parameters
    ----------
    table
        Vectors of the words [v, d]; row 0 pads, and row 1 is for what isn't known.
    weights
        As :class:`~swiftvla_ros.training.words.network.ReadingMembers` names them, [m, …] each.
    layers
        Number of layers.
    """

    def __init__(self, table: Array, weights: Mapping[str, Array], layers: int) -> None:
        self._table, self._weights, self._layers = table, weights, layers

    def logits(self, words: Sequence[int]) -> Array:
        """What each member makes of a sentence's words: [m, meanings + 1], the last for none of them."""
        weights = self._weights
        vectors = self._table[list(words)] + (np.array(words) == 1)[:, None] * weights["unknown"]
        x = vectors @ weights["input"] + weights["input_bias"] + weights["position"][:, : len(words)]
        for layer in range(self._layers):
            x = self._attend(x, f"layer{layer}_")
            hidden = np.maximum(self._dense(self._norm(x, f"layer{layer}_norm2"), f"layer{layer}_up"), 0)
            x = x + self._dense(hidden, f"layer{layer}_down")
        x = self._norm(x, "norm")
        share = _softmax(self._dense(x, "pool").swapaxes(1, 2))  # [m, heads, n]
        pooled = (share @ x).reshape(len(x), 1, -1)
        return self._dense(pooled, "out")[:, 0]

    def _attend(self, x: Array, layer: str) -> Array:
        qkv = self._dense(self._norm(x, f"{layer}norm1"), f"{layer}qkv")
        members, words, width = x.shape
        q, k, v = np.split(qkv.reshape(members, words, 3 * HEADS, -1).swapaxes(1, 2), 3, axis=1)
        share = _softmax(q @ k.swapaxes(2, 3) / np.float32(np.sqrt(width // HEADS)))
        return x + self._dense((share @ v).swapaxes(1, 2).reshape(x.shape), f"{layer}mix")

    def _dense(self, x: Array, name: str) -> Array:
        y: Array = x @ self._weights[name] + self._weights[f"{name}_bias"]
        return y

    def _norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(_EPSILON))
        y: Array = scaled * self._weights[name] + self._weights[f"{name}_bias"]
        return y


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    y: Array = e / e.sum(-1, keepdims=True)
    return y


def shares(logits: Array, temperature: float) -> Array:
    """How likely each meaning is [meanings + 1]: the mean of the members' [m, meanings + 1]."""
    y: Array = _softmax(logits / np.float32(temperature)).mean(0)
    return y
