# SPDX-License-Identifier: Apache-2.0
"""Vectors of words from a small language model's folder (llama's layers, such as SmolLM2-135M's, Apache-2.0).

A word's vector is what the model has made of it three quarters of its way up, where it stands as something that a robot
can do. Words that would go on alike lie near each other there: `hoist` near `lift`, which a sentence encoder, made to
tell sentences apart by what they are about, knows less of (docs/words.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from safetensors import safe_open
from torch import Tensor

from swiftvla_ros.files import read_json_object, unreadable
from swiftvla_ros.model.attention import rotation
from swiftvla_ros.model.config import TextConfig
from swiftvla_ros.model.text_model import TextModel
from swiftvla_ros.training.distributed import used_precision
from swiftvla_ros.training.words.vectors import VectorsError

CONTEXTS = ("A robot can {}", "to {}")
"""What a word is the last of: what a robot may be told to do, and what anybody may."""
_DEPTH = 0.75
_BATCH = 256
# What a plain llama has; another value would be computed otherwise than here.
_PLAIN = {"model_type": "llama", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "rope_scaling": None}
_AGAIN = "name the folder of a llama such as SmolLM2-135M, with config.json, model.safetensors and tokenizer.json"


def encode_words(folder: Path, words: Sequence[str]) -> NDArray[np.float32]:
    """Vectors [v, contexts × width], each number of mean 0 and spread 1; VectorsError where no model lies there."""
    from tokenizers import Tokenizer

    reading = folder / "config.json"
    try:
        text = _config(read_json_object(reading), reading)
        reading = folder / "model.safetensors"
        model = _model(reading, text)
        reading = folder / "tokenizer.json"
        tokenizer = Tokenizer.from_file(str(reading))
    except VectorsError:
        raise
    except Exception as error:  # the tokenizer's and the weights' libraries raise classes of their own
        raise VectorsError(unreadable(reading, error, _AGAIN)) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    found = [
        _last_of(model, text, [tokenizer.encode(context.format(word)).ids for word in words], context)
        for context in CONTEXTS
    ]
    vectors = np.concatenate(found, axis=1)
    standard: NDArray[np.float32] = (vectors - vectors.mean(0)) / (vectors.std(0) + 1e-6)
    return standard


def _config(config: dict[str, object], path: Path) -> TextConfig:
    def number(key: str) -> int:
        if not isinstance(value := config.get(key), int):
            raise VectorsError(f"{path}: {key} is {value!r}, not a number; {_AGAIN}")
        return value

    for key, plain in _PLAIN.items():
        if (value := config.get(key, None if key == "model_type" else plain)) != plain:
            raise VectorsError(f"{path}: {key} is {value!r}, not {plain!r}; {_AGAIN}")
    heads, width = number("num_attention_heads"), number("hidden_size")
    rope = config.get("rope_parameters") or {}
    assert isinstance(rope, dict)
    theta = rope.get("rope_theta", config.get("rope_theta"))
    if rope.get("rope_type", "default") != "default" or abs(float(str(config.get("rms_norm_eps"))) - 1e-5) > 1e-8:
        raise VectorsError(f"{path}: positions are scaled, or rms_norm_eps is not 1e-5; {_AGAIN}")
    if config.get("head_dim", width // heads) != width // heads:
        raise VectorsError(f"{path}: head_dim is not hidden_size / num_attention_heads; {_AGAIN}")
    return TextConfig(
        vocab_size=number("vocab_size"),
        hidden_size=width,
        intermediate_size=number("intermediate_size"),
        num_layers=max(1, int(_DEPTH * number("num_hidden_layers"))),
        num_heads=heads,
        num_kv_heads=number("num_key_value_heads"),
        head_dim=width // heads,
        rope_theta=float(str(theta or 10_000.0)),
        max_tokens=1,
    )


def _model(path: Path, config: TextConfig) -> TextModel:
    """The layers that are needed, in bfloat16 where the processor multiplies it."""
    with torch.device("meta"):
        model = TextModel(config)
    with safe_open(path, framework="pt") as file:
        there = {name.removeprefix("model."): name for name in file.keys()}  # noqa: SIM118 - not a dict
        weights = {name: file.get_tensor(there[name]) for name in model.state_dict()}
    model.load_state_dict(weights, assign=True)
    kind = torch.bfloat16 if used_precision("auto", "cpu") == "bf16" else torch.float32
    return model.to(kind).requires_grad_(False).eval()


@torch.no_grad()
def _last_of(model: TextModel, config: TextConfig, rows: list[list[int]], context: str) -> NDArray[np.float32]:
    """What the model has made of each row's last token [v, width]; rows of a length are computed together."""
    of_length: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        of_length.setdefault(len(row), []).append(number)
    parts = [same[k : k + _BATCH] for same in of_length.values() for k in range(0, len(same), _BATCH)]
    found = np.empty((len(rows), config.hidden_size), np.float32)
    for part in track(parts, context.format("…"), console=Console(stderr=True)):
        found[part] = _outputs(model, config, torch.tensor([rows[k] for k in part]))[:, -1].float().numpy()
    return found


def _outputs(model: TextModel, config: TextConfig, ids: Tensor) -> Tensor:
    hidden = model.embed_tokens(ids)
    b, n = ids.shape
    by = rotation(torch.arange(n).expand(b, n), config.head_dim, config.rope_theta)
    causal = torch.ones(n, n, dtype=torch.bool).tril().expand(b, n, n)
    for layer in model.layers:
        hidden, _ = layer(hidden, by, causal)
    return hidden
