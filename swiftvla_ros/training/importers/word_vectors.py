# SPDX-License-Identifier: Apache-2.0
"""Vectors of words from a sentence encoder's folder (BERT's layers, such as all-MiniLM-L6-v2, Apache-2.0).

A word's vector is what the encoder makes of the word alone, so words that mean much the same lie near each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from swiftvla_ros.files import read_json_object, unreadable
from swiftvla_ros.training.words.vectors import VectorsError

_BATCH = 512
_AGAIN = "name the folder of a BERT sentence encoder with config.json, model.safetensors and tokenizer.json"


def encode_words(folder: Path, words: Sequence[str]) -> NDArray[np.float32]:
    """Vectors [v, d] of length 1; raises VectorsError where no encoder lies in ``folder``."""
    from tokenizers import Tokenizer

    try:
        config = read_json_object(folder / "config.json")
        weights = load_file(folder / "model.safetensors")
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        encoder = _Encoder(weights, int(config["num_hidden_layers"]), int(config["num_attention_heads"]))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise VectorsError(unreadable(folder, error, _AGAIN)) from error
    except Exception as error:  # the tokenizer's library raises no class of its own
        raise VectorsError(unreadable(folder / "tokenizer.json", error, _AGAIN)) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    vectors: list[Tensor] = []
    for first in range(0, len(words), _BATCH):
        ids = [found.ids for found in tokenizer.encode_batch(list(words[first : first + _BATCH]))]
        length = max(map(len, ids))
        padded = torch.tensor([row + [0] * (length - len(row)) for row in ids])
        there = torch.tensor([[1.0] * len(row) + [0.0] * (length - len(row)) for row in ids])
        hidden = encoder(padded, there)
        vectors.append((hidden * there[..., None]).sum(1) / there.sum(1, keepdim=True))
    found: NDArray[np.float32] = functional.normalize(torch.cat(vectors), dim=-1).numpy()
    return found


class _Encoder:
    """BERT, as published; only what a sentence's tokens come to."""

    def __init__(self, weights: dict[str, Tensor], layers: int, heads: int) -> None:
        self._weights, self._layers, self._heads = weights, layers, heads
        self._tokens = weights["embeddings.word_embeddings.weight"]
        self._places = weights["embeddings.position_embeddings.weight"]
        self._segment = weights["embeddings.token_type_embeddings.weight"][0]

    @torch.no_grad()
    def __call__(self, ids: Tensor, there: Tensor) -> Tensor:
        x = self._tokens[ids] + self._places[: ids.shape[1]] + self._segment
        x = self._norm(x, "embeddings.LayerNorm")
        for layer in range(self._layers):
            name = f"encoder.layer.{layer}"
            q, k, v = (self._split(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
            seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=there[:, None, None].bool())
            seen = self._dense(seen.transpose(1, 2).flatten(2), f"{name}.attention.output.dense")
            x = self._norm(x + seen, f"{name}.attention.output.LayerNorm")
            inner = functional.gelu(self._dense(x, f"{name}.intermediate.dense"))
            x = self._norm(x + self._dense(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
        return x

    def _split(self, x: Tensor, name: str) -> Tensor:
        return self._dense(x, name).unflatten(-1, (self._heads, -1)).transpose(1, 2)

    def _dense(self, x: Tensor, name: str) -> Tensor:
        return functional.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(x, x.shape[-1:], weight, bias, 1e-12)
