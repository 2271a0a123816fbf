# SPDX-License-Identifier: Apache-2.0
"""Where vectors of words come from: a sentence encoder's layers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from swiftvla_ros.training.importers.word_vectors import encode_words
from swiftvla_ros.training.words.vectors import VectorsError, reduced

WIDTH, INNER, LAYERS, HEADS = 16, 32, 2, 4
WORDS = ("lift", "touch", "red")


def _encoder(folder: Path) -> None:
    torch.manual_seed(0)
    shapes = {
        f"embeddings.{name}_embeddings.weight": (n, WIDTH)
        for name, n in (("word", 8), ("position", 16), ("token_type", 2))
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        dense = {f"attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
        dense |= {
            "attention.output.dense": (WIDTH, WIDTH),
            "intermediate.dense": (INNER, WIDTH),
            "output.dense": (WIDTH, INNER),
        }
        for part, shape in dense.items():
            shapes |= {f"{name}.{part}.weight": shape, f"{name}.{part}.bias": shape[:1]}
        norms += [f"{name}.attention.output.LayerNorm", f"{name}.output.LayerNorm"]
    for norm in norms:
        shapes |= {f"{norm}.weight": (WIDTH,), f"{norm}.bias": (WIDTH,)}
    save_file({name: torch.randn(shape) * 0.3 for name, shape in shapes.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"num_hidden_layers": LAYERS, "num_attention_heads": HEADS}))
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(
        models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "lift": 3, "touch": 4, "red": 5}, "[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def test_a_word_is_the_mean_of_what_the_encoder_makes_of_it(tmp_path: Path) -> None:
    """Vectors have length 1, differ, and don't depend on what else is encoded beside them; no encoder is named."""
    _encoder(tmp_path)
    together = encode_words(tmp_path, (*WORDS, "lift touch red"))
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(encode_words(tmp_path, WORDS), together[:3], atol=1e-5)
    assert abs(together[0] - together[1]).max() > 1e-3
    with pytest.raises(VectorsError, match=r"tokenizer\.json"):
        encode_words(tmp_path / "absent", WORDS)


def test_vectors_are_reduced_to_what_differs_most() -> None:
    """As many numbers as asked for, of spread 1, whatever the encoder's own size and mean were."""
    made = reduced(tuple("abcdefghij"), np.random.default_rng(0).normal(3, 5, (10, 6)), 4)
    found = made.vectors * made.scale
    assert found.shape == (10, 4)
    assert found.std() == pytest.approx(1, abs=0.05)
    assert (np.diff(found.std(0)) < 0.05).all()
